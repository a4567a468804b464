import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, link, mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { Parser, type ReadEntry } from 'tar'
import { FairwayError } from '../base/errors.ts'

export interface UnpackLimits {
  /** Bytes of all files together. */
  readonly bytesMax: number
  readonly entriesMax: number
}
export const UNPACK_LIMITS: UnpackLimits = { bytesMax: 4 * 1024 ** 3, entriesMax: 200_000 }
const PATH_BYTES_MAX = 4_096
const NAME_BYTES_MAX = 255
/** Of an entry beside its content: header, padding, and an extended header with a long name. */
const ENTRY_OVERHEAD_BYTES = 8_192
/** A block of zeros or two ends an archive; packers fill up to ten kilobytes. */
const END_BYTES = 16_384
/** Beginnings of gzip and zstd, which the parser would unpack by itself. */
const COMPRESSED = [Buffer.from([0x1f, 0x8b]), Buffer.from([0x28, 0xb5, 0x2f, 0xfd])]

type Kind = 'folder' | 'file' | 'symlink'

/**
 * Unpacks a .tar.gz into `folder`, which must be empty and nobody else's. Only folders, files,
 * symbolic links and hard links to files of the archive. Symbolic links are made as they are, for
 * the machine to follow in its own root, and never walked through here: whatever was made is
 * remembered, and an entry below anything but a folder ends it. Throws `bad_artifact`.
 */
export async function unpackArtifact(
  archive: string,
  folder: string,
  limits: UnpackLimits = UNPACK_LIMITS,
): Promise<void> {
  const made = new Map<string, Kind>([['', 'folder']])
  let bytes = 0
  let entries = 0
  // strict: what node-tar would skip with a warning (a bad checksum, say) ends it instead.
  const parser = new Parser({ strict: true })
  let failure: unknown
  // An archive that breaks off leaves an entry which nobody ever ends.
  const broken = new AbortController()
  let work: Promise<void> = Promise.resolve()
  parser.on('entry', (entry: ReadEntry) => {
    entries += 1
    bytes += entry.size
    work = work
      .then(() => {
        if (entries > limits.entriesMax) throw bad(`more than ${limits.entriesMax} entries`)
        if (bytes > limits.bytesMax) throw bad(`more than ${limits.bytesMax} bytes`)
        return place(entry, folder, made, broken.signal)
      })
      .catch((error: unknown) => {
        failure ??= error
        entry.resume()
        parser.abort(error as Error)
      })
  })
  try {
    await pipeline(
      createReadStream(archive),
      createGunzip(),
      measure(limits),
      parser as unknown as NodeJS.WritableStream,
    )
  } catch (error) {
    failure ??=
      error instanceof FairwayError ? error : bad(`not a readable .tar.gz (${String(error)})`)
    broken.abort()
  }
  await work
  if (failure) throw failure
}

/**
 * Ends what unpacks to more than files within the limits could take: headers that name no file, or
 * zeros after the end, are counted nowhere else.
 */
function measure({ bytesMax, entriesMax }: UnpackLimits): Transform {
  const max = bytesMax + entriesMax * ENTRY_OVERHEAD_BYTES + END_BYTES
  let total = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (total === 0 && COMPRESSED.some((magic) => chunk.subarray(0, magic.length).equals(magic)))
        return done(bad('it is compressed twice'))
      total += chunk.length
      if (total > max) return done(bad(`more than ${max} bytes unpacked`))
      done(null, chunk)
    },
  })
}

const bad = (why: string) =>
  new FairwayError('bad_artifact', `the artifact cannot be unpacked: ${why}`)

async function place(
  entry: ReadEntry,
  folder: string,
  made: Map<string, Kind>,
  signal: AbortSignal,
): Promise<void> {
  const path = cleanPath(entry.path)
  const before = made.get(path)
  if (entry.type === 'Directory') {
    await makeFolders(path, folder, made)
    entry.resume()
    return
  }
  if (path === '' || before) throw bad(`"${entry.path}" is there twice`)
  await makeFolders(parentOf(path), folder, made)
  const target = join(folder, path)
  switch (entry.type) {
    case 'File':
    case 'OldFile':
    case 'ContiguousFile':
      made.set(path, 'file')
      await writeEntry(entry, target, signal)
      return
    case 'SymbolicLink':
      made.set(path, 'symlink')
      if (!entry.linkpath || entry.linkpath.includes('\0')) throw bad(`"${path}" points nowhere`)
      await symlink(entry.linkpath, target)
      entry.resume()
      return
    case 'Link': {
      const source = cleanPath(entry.linkpath ?? '')
      if (made.get(source) !== 'file') throw bad(`"${path}" links to no file of the archive`)
      made.set(path, 'file')
      await link(join(folder, source), target)
      entry.resume()
      return
    }
    default:
      throw bad(`"${path}" is a ${entry.type}: only folders, files and links may be packed`)
  }
}

/** Path without `.` segments. Throws when it is absolute, steps up, or holds what no name may. */
function cleanPath(path: string): string {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw bad('a path is too long')
  if (path.startsWith('/') || path.includes('\0')) throw bad(`"${path}" is not a relative path`)
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.')
  for (const segment of segments) {
    if (segment === '..') throw bad(`"${path}" leaves its folder`)
    if (Buffer.byteLength(segment) > NAME_BYTES_MAX) throw bad(`a name in "${path}" is too long`)
  }
  return segments.join('/')
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')))

async function makeFolders(path: string, root: string, made: Map<string, Kind>): Promise<void> {
  const kind = made.get(path)
  if (kind === 'folder') return
  if (kind) throw bad(`"${path}" is a ${kind} and not a folder`)
  await makeFolders(parentOf(path), root, made)
  const target = join(root, path)
  await mkdir(target)
  await chmod(target, 0o755) // A machine's uid is not ours, whatever the umask says.
  made.set(path, 'folder')
}

const EXECUTABLE = 0o111

async function writeEntry(entry: ReadEntry, target: string, signal: AbortSignal): Promise<void> {
  const executable = ((entry.mode ?? 0) & EXECUTABLE) !== 0
  // wx: a name that exists by any means is an error, and a link at its end is not followed.
  await pipeline(
    entry as unknown as NodeJS.ReadableStream,
    createWriteStream(target, { flags: 'wx' }),
    { signal },
  )
  await chmod(target, executable ? 0o555 : 0o444)
}
