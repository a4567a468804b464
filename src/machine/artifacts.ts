import { chmod, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import { unpackArtifact } from './unpack.ts'

/** Unpacked artifacts that no machine uses, kept because the next deploy may want them. */
export const UNUSED_ARTIFACTS_MAX = 8
const DIGEST = /^(sha256:)?([0-9a-f]{64})$/

export interface ArtifactFolders {
  /** Folder of the unpacked artifact; unpacks it first when it is not there. */
  folder(digest: string): Promise<string>
  /** Removes the longest unused beyond UNUSED_ARTIFACTS_MAX. `used`: digests that machines run. */
  prune(used: ReadonlySet<string>): Promise<void>
}

/**
 * Artifacts as folders, each unpacked once. A folder appears under its digest complete or not at
 * all; its time of change says when it was last wanted. `fetch` gives the path of the archive, which
 * is removed when it cannot be unpacked.
 */
export function artifactFolders(
  root: string,
  fetch: (digest: string) => Promise<string>,
): ArtifactFolders {
  const underWay = new Map<string, Promise<string>>()
  const make = async (digest: string, hex: string): Promise<string> => {
    const folder = join(root, hex)
    if (await isFolder(folder)) {
      const now = new Date()
      await utimes(folder, now, now)
      return folder
    }
    const archive = await fetch(digest)
    const temporary = join(root, `${hex}.new`)
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { recursive: true, mode: 0o700 })
    try {
      await unpackArtifact(archive, temporary)
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      // The archive may have been damaged here: the next attempt fetches it.
      if (isBad(error)) await rm(archive, { force: true })
      throw error
    }
    await chmod(temporary, 0o755) // It becomes /app.
    await rename(temporary, folder)
    return folder
  }
  return {
    folder(digest) {
      const hex = hexOf(digest)
      const running = underWay.get(hex)
      if (running) return running
      const promise = make(digest, hex).finally(() => underWay.delete(hex))
      underWay.set(hex, promise)
      return promise
    },
    prune: (used) => prune(root, new Set([...used].map(hexOf)), underWay),
  }
}

function hexOf(digest: string): string {
  const hex = DIGEST.exec(digest)?.[2]
  if (hex) return hex
  throw new FairwayError('bad_artifact', `artifact "${digest}" is not a sha256 digest`)
}

const isBad = (error: unknown): boolean =>
  error instanceof FairwayError && error.code === 'bad_artifact'

async function prune(
  root: string,
  used: ReadonlySet<string>,
  underWay: ReadonlyMap<string, unknown>,
): Promise<void> {
  const unused: { name: string; mtimeMs: number }[] = []
  for (const name of await readdir(root).catch(() => [])) {
    const hex = name.replace(/\.new$/, '')
    if (used.has(name) || underWay.has(hex)) continue
    const found = await stat(join(root, name)).catch(() => undefined)
    // A half-made folder is a crash's, and the first to go.
    if (found) unused.push({ name, mtimeMs: name === hex ? found.mtimeMs : 0 })
  }
  unused.sort((a, b) => b.mtimeMs - a.mtimeMs)
  const keep = unused.findIndex(({ mtimeMs }) => mtimeMs === 0)
  const limit = keep < 0 ? UNUSED_ARTIFACTS_MAX : Math.min(keep, UNUSED_ARTIFACTS_MAX)
  for (const { name } of unused.slice(limit))
    await rm(join(root, name), { recursive: true, force: true })
}

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
