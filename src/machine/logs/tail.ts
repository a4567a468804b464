import { type FileHandle, open, stat } from 'node:fs/promises'
import { splitLines } from './codec.ts'

/** Where a reader stands in a file that is turned over: `path` is renamed to `path.1`. */
export interface LogPosition {
  readonly inode: number
  readonly offset: number
}

export interface LogChunk {
  readonly bytes: Buffer
  /** `bytes` go on where the last chunk ended; false when something between is lost. */
  readonly position: LogPosition
}

/** How much of a file's end is looked through for its last lines. */
export const TAIL_BYTES_MAX = 1024 * 1024
/** How much is read at once while following. */
export const READ_BYTES_MAX = 256 * 1024

export const rotatedPath = (path: string): string => `${path}.1`

/** The end of a log, whole lines only, with the position after it. Looks into `path.1` as well. */
export async function readTail(path: string, linesMax: number): Promise<LogChunk> {
  const current = await readEnd(path)
  const position = { inode: current?.inode ?? 0, offset: current?.end ?? 0 }
  const lines = current ? splitLines(EMPTY, current.bytes).lines.length : 0
  // Lines that the writer has not ended yet are read again when they are whole.
  if (current) position.offset = current.end - unfinished(current.bytes)
  const bytes = current
    ? current.bytes.subarray(0, current.bytes.length - unfinished(current.bytes))
    : EMPTY
  if (lines >= linesMax) return { bytes, position }
  const older = await readEnd(rotatedPath(path))
  return { bytes: older ? Buffer.concat([older.bytes, bytes]) : bytes, position }
}

const EMPTY = Buffer.alloc(0)
const unfinished = (bytes: Buffer): number => bytes.length - (bytes.lastIndexOf(10) + 1)

async function readEnd(
  path: string,
): Promise<{ bytes: Buffer; inode: number; end: number } | undefined> {
  return withFile(path, async (file) => {
    const { size, ino } = await file.stat()
    const from = Math.max(0, size - TAIL_BYTES_MAX)
    const bytes = await readAt(file, from, size - from)
    // In the middle of a file the first line is only the end of one.
    const whole = from === 0 ? bytes : bytes.subarray(bytes.indexOf(10) + 1)
    return { bytes: whole, inode: ino, end: from + bytes.length }
  })
}

/**
 * What was written since `position`, at most READ_BYTES_MAX, or undefined when nothing was. After a
 * turn-over first the rest of the old file, then the new one from its beginning.
 */
export async function readMore(path: string, position: LogPosition): Promise<LogChunk | undefined> {
  const inode = await inodeOf(path)
  if (inode === position.inode) return readFrom(path, position)
  const rest = await readFrom(rotatedPath(path), position)
  if (rest) return rest
  return inode === undefined ? undefined : readFrom(path, { inode, offset: 0 })
}

async function readFrom(path: string, position: LogPosition): Promise<LogChunk | undefined> {
  return withFile(path, async (file) => {
    const { size, ino } = await file.stat()
    if (ino !== position.inode) return undefined
    // Shorter than where we stand: the writer began the file anew.
    const offset = size < position.offset ? 0 : position.offset
    const length = Math.min(READ_BYTES_MAX, size - offset)
    if (length === 0) return undefined
    const bytes = await readAt(file, offset, length)
    return { bytes, position: { inode: ino, offset: offset + bytes.length } }
  })
}

async function inodeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ ino }) => ino,
    () => undefined,
  )
}

async function withFile<T>(
  path: string,
  use: (file: FileHandle) => Promise<T>,
): Promise<T | undefined> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch {
    return undefined
  }
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length)
  const { bytesRead } = await file.read(buffer, 0, length, offset)
  return buffer.subarray(0, bytesRead)
}
