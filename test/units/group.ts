import { globSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from 'node:test'
import { ROOT } from '../support/world.ts'

/**
 * Unit tests of several folders in one process: most of what a unit test's file costs is the start of
 * a process and the loading of what all of them load.
 */
export async function runFolders(folders: readonly string[]): Promise<void> {
  const files = folders.flatMap((folder) => globSync(`src/${folder}/**/*.test.ts`, { cwd: ROOT }))
  if (files.length === 0) throw new Error(`no unit tests in ${folders.join(', ')}`)
  // In a suite of its own each, so that a file's hooks are for its tests alone.
  for (const file of files.sort()) await describe(file, () => import(join(ROOT, file)))
}

/** Its tests start processes and threads: each file is run by itself (scripts/bootstrap.mjs). */
const BY_FILE = ['agent']

/** Folders with a process of their own, by the name of the file here that runs them. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  api: ['api'],
  control: ['control'],
  hosts: ['kernel', 'machine', 'mesh'],
  proxy: ['proxy'],
  store: ['store'],
}

/** Every other folder that has tests. */
export function otherFolders(): string[] {
  const taken = new Set([...BY_FILE, ...Object.values(GROUPS).flat()])
  const all = new Set(globSync('src/**/*.test.ts', { cwd: ROOT }).map((f) => f.split('/')[1]!))
  return [...all].filter((folder) => !taken.has(folder)).sort()
}
