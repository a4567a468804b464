import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import dockerignore from '@balena/dockerignore'
import { create } from 'tar'
import { FairwayError } from '../base/errors.ts'
import { bytesText } from './output.ts'

/**
 * What a machine runs: the app's folder as a .tar.gz whose bytes depend on names, contents, links
 * and executable bits alone, so that the same folder has the same digest everywhere.
 */
export interface Artifact {
  /** In a folder of its own that only this user can read; `remove` deletes both. */
  readonly file: string
  /** SHA-256 of the file's bytes. */
  readonly digestHex: string
  readonly bytes: number
  readonly entries: number
  /** Paths that cannot be in an archive: sockets, pipes, devices. */
  readonly skipped: readonly string[]
  remove(): Promise<void>
}

export const ARTIFACT_BYTES_MAX = 512 * 1024 * 1024
export const ARTIFACT_ENTRIES_MAX = 100_000
/** Uncompressed; beyond it packing is not tried. */
export const ARTIFACT_CONTENT_BYTES_MAX = 2048 * 1024 * 1024
const LARGEST_SHOWN = 5
const GZIP_LEVEL = 6
const NEVER_PACKED = '.git'

export const REGISTRY = 'registry.fairway.test'
export const imageRef = (app: string, digestHex: string): string =>
  `${REGISTRY}/${app}@sha256:${digestHex}`

interface Entry {
  readonly path: string
  readonly bytes: number
}

/** Packs a folder as `.dockerignore` in it says. */
export async function packFolder(folder: string): Promise<Artifact> {
  const { entries, skipped } = await listFolder(folder)
  checkSize(entries)
  const scratch = await mkdtemp(join(tmpdir(), 'fairway-artifact-'))
  const remove = () => rm(scratch, { recursive: true, force: true })
  try {
    const file = join(scratch, 'artifact.tar.gz')
    const { digestHex, bytes } = await writeArchive(folder, entries, file)
    return { file, digestHex, bytes, entries: entries.length, skipped, remove }
  } catch (error) {
    await remove()
    throw error
  }
}

/** A map that forgets: a hard link is packed as the file that it is, wherever its other names are. */
class NoLinks extends Map<`${number}:${number}`, string> {
  override get(): undefined {
    return undefined
  }
}

async function writeArchive(folder: string, entries: readonly Entry[], file: string) {
  const hash = createHash('sha256')
  let bytes = 0
  const measure = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes > ARTIFACT_BYTES_MAX) done(tooLarge(entries, `over ${bytesText(bytes)} packed`))
      else done(null, chunk)
    },
  })
  const archive = create(
    {
      cwd: folder,
      portable: true,
      noDirRecurse: true,
      mtime: new Date(0),
      gzip: { level: GZIP_LEVEL, portable: true },
      linkCache: new NoLinks(),
      strict: true,
    },
    // A leading ./ keeps a name such as @x from being read as an archive to include.
    entries.map((entry) => `./${entry.path}`),
  )
  await pipeline(archive, measure, createWriteStream(file, { mode: 0o600 }))
  return { digestHex: hash.digest('hex'), bytes }
}

async function listFolder(folder: string): Promise<{ entries: Entry[]; skipped: string[] }> {
  const rules = await readIgnore(folder)
  const ignore = dockerignore.default({ ignorecase: false }).add(rules)
  // Without a rule that takes something back in, nothing inside an ignored folder can be wanted.
  const mayReturn = rules.split('\n').some((line) => line.trim().startsWith('!'))
  const entries: Entry[] = []
  const skipped: string[] = []
  const walk = async (at: string): Promise<void> => {
    const found = await readdir(join(folder, at), { withFileTypes: true })
    found.sort((a, b) => (a.name < b.name ? -1 : 1))
    for (const item of found) {
      if (item.name === NEVER_PACKED) continue
      const path = at === '' ? item.name : `${at}/${item.name}`
      const ignored = ignore.ignores(path)
      const packable = item.isFile() || item.isDirectory() || item.isSymbolicLink()
      if (!ignored && packable) {
        const bytes = item.isFile() ? (await lstat(join(folder, path))).size : 0
        entries.push({ path, bytes })
        if (entries.length > ARTIFACT_ENTRIES_MAX) throw tooMany(folder)
      } else if (!ignored) skipped.push(path)
      if (item.isDirectory() && (!ignored || mayReturn)) await walk(path)
    }
  }
  await walk('')
  return { entries, skipped }
}

async function readIgnore(folder: string): Promise<string> {
  try {
    return await readFile(join(folder, '.dockerignore'), 'utf8')
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return ''
    throw error
  }
}

function checkSize(entries: readonly Entry[]): void {
  const total = entries.reduce((sum, entry) => sum + entry.bytes, 0)
  if (total > ARTIFACT_CONTENT_BYTES_MAX) throw tooLarge(entries, `${bytesText(total)} unpacked`)
}

function tooLarge(entries: readonly Entry[], size: string): FairwayError {
  const largest = [...entries].sort((a, b) => b.bytes - a.bytes).slice(0, LARGEST_SHOWN)
  const list = largest.map((entry) => `  ${bytesText(entry.bytes)}  ${entry.path}`).join('\n')
  return new FairwayError(
    'artifact_too_large',
    `The app's folder is too large to deploy: ${size}; at most ${bytesText(ARTIFACT_BYTES_MAX)} packed ` +
      `and ${bytesText(ARTIFACT_CONTENT_BYTES_MAX)} unpacked. Leave out what the app does not need ` +
      `with a .dockerignore. The largest files:\n${list}`,
  )
}

const tooMany = (folder: string) =>
  new FairwayError(
    'artifact_too_many_files',
    `${folder} has more than ${ARTIFACT_ENTRIES_MAX} files. Leave out what the app does not need ` +
      'with a .dockerignore.',
  )
