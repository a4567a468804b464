import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { FairwayError, messageOf } from '../base/errors.ts'
import { procfileWeb } from '../model/fly-toml/command.ts'
import { parseFlyToml } from '../model/fly-toml/parse.ts'
import { type Problem, problemText } from '../model/fly-toml/problem.ts'
import type { AppConfig } from '../model/fly-toml/schema.ts'

/** A fly.toml that could be read; values are not validated yet. */
export interface LoadedConfig {
  readonly path: string
  /** For messages: as the person would name it. */
  readonly name: string
  /** The folder that is deployed. */
  readonly folder: string
  readonly text: string
  readonly config: AppConfig
}

const NAMES = ['fly.toml', 'fly.json'] as const

/** The config that `--config` names (a file or its folder), or that of `cwd`, if there is one. */
export function findConfig(cwd: string, flag: string | undefined): LoadedConfig | undefined {
  const start = resolve(cwd, flag ?? '.')
  const path = isFolder(start) ? NAMES.map((n) => join(start, n)).find((p) => existsSync(p)) : start
  if (path === undefined && flag === undefined) return undefined
  if (path === undefined) throw missing(join(flag!, 'fly.toml'))
  return loadConfig(path, flag ?? basename(path))
}

export function loadConfig(path: string, name: string, strict = false): LoadedConfig {
  const text = read(path, name)
  const format = path.endsWith('.json') ? 'json' : 'toml'
  const parsed = parseFlyToml(text, { strict, format })
  if (!parsed.ok) throw invalidConfig(parsed.problems, name)
  return { path, name, folder: dirname(path), text, config: parsed.config }
}

/** All problems at once, one a line. */
export const invalidConfig = (problems: readonly Problem[], name: string) =>
  new FairwayError('invalid_config', problems.map((p) => problemText(p, name)).join('\n'))

/** The `web:` line of the folder's Procfile. */
export function procfileOf(folder: string): string | undefined {
  const path = join(folder, 'Procfile')
  return existsSync(path) ? procfileWeb(readFileSync(path, 'utf8')) : undefined
}

const isFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false

function read(path: string, name: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if ((cause as { code?: string }).code === 'ENOENT') throw missing(name)
    throw new FairwayError('unreadable_config', `${name}: ${messageOf(cause)}`, { cause })
  }
}

const missing = (name: string) =>
  new FairwayError('no_config', `${name} does not exist. Give -c with the path of a fly.toml.`)
