import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Archives that are kept; more than there are starts at one time, so that none is in use. */
export const DOWNLOADS_MAX = 8

/**
 * Fetches artifacts into a folder, each once at a time, and gives their paths. `fetch` makes the file
 * appear whole and verified, so that one which is there needs no second look; whoever finds it damaged
 * removes it.
 */
export function artifactDownloads(
  folder: string,
  fetch: (digest: string, toFile: string) => Promise<void>,
): (digest: string) => Promise<string> {
  const underWay = new Map<string, Promise<string>>()
  const download = async (digest: string, hex: string): Promise<string> => {
    const file = join(folder, `${hex}.tar.gz`)
    if (existsSync(file)) return file
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await fetch(digest, file)
    await prune(folder)
    return file
  }
  return (digest) => {
    const hex = digest.replace(/^sha256:/, '').replaceAll(/[^0-9a-f]/g, '')
    const running = underWay.get(hex)
    if (running) return running
    const promise = download(digest, hex).finally(() => underWay.delete(hex))
    underWay.set(hex, promise)
    return promise
  }
}

async function prune(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.tar.gz'))
  if (names.length <= DOWNLOADS_MAX) return
  const files = await Promise.all(
    names.map(async (name) => ({ name, at: (await stat(join(folder, name))).mtimeMs })),
  )
  files.sort((a, b) => b.at - a.at)
  for (const { name } of files.slice(DOWNLOADS_MAX)) await rm(join(folder, name), { force: true })
}
