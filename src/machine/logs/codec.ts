/** One line that a machine wrote. */
export interface LogEntry {
  /** RFC 3339 in UTC, with as many digits as the source has. */
  readonly timestamp: string
  readonly text: string
}

/** A longer line is cut, so that one machine cannot fill a reader's memory. */
export const LOG_LINE_BYTES_MAX = 64 * 1024
const LINE = /^(\S+) (stdout|stderr) ([FP])(?: (.*))?$/s

/**
 * Decodes the log format of Kubernetes' container runtimes, `<time> <stream> <F|P> <text>`: parts
 * (P) of a line are joined until its full end (F), for each stream by itself. Bytes may come in any
 * pieces; what is no such line is skipped.
 */
export class ContainerLogDecoder {
  #rest: Buffer = Buffer.alloc(0)
  readonly #parts = { stdout: newPart(), stderr: newPart() }

  push(chunk: Buffer): LogEntry[] {
    const entries: LogEntry[] = []
    const { lines, rest } = splitLines(this.#rest, chunk)
    this.#rest = rest
    for (const line of lines) {
      const entry = this.#line(line.toString('utf8'))
      if (entry) entries.push(entry)
    }
    return entries
  }

  #line(line: string): LogEntry | undefined {
    const [, time, stream, mark, text = ''] = LINE.exec(line) ?? []
    const timestamp = time && utcTime(time)
    if (!timestamp) return undefined
    const part = this.#parts[stream as 'stdout' | 'stderr']
    part.timestamp ??= timestamp
    const room = LOG_LINE_BYTES_MAX - part.text.length
    part.text += text.slice(0, Math.max(0, room))
    if (mark === 'P') return undefined
    const entry = { timestamp: part.timestamp, text: part.text }
    this.#parts[stream as 'stdout' | 'stderr'] = newPart()
    return entry
  }
}

interface Part {
  timestamp: string | undefined
  text: string
}
const newPart = (): Part => ({ timestamp: undefined, text: '' })

/** Longer than any line that the supervisor writes (it reads 8 KiB at once). */
const RAW_LINE_BYTES_MAX = 2 * LOG_LINE_BYTES_MAX

/** Splits `rest + chunk` at newlines; a last line without one is the new rest, of bounded length. */
export function splitLines(rest: Buffer, chunk: Buffer): { lines: Buffer[]; rest: Buffer } {
  const lines: Buffer[] = []
  let start = 0
  for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
    const piece = chunk.subarray(start, end)
    lines.push(start === 0 && rest.length > 0 ? Buffer.concat([rest, piece]) : piece)
    start = end + 1
  }
  const tail = chunk.subarray(start)
  const kept = start === 0 && rest.length > 0 ? Buffer.concat([rest, tail]) : tail
  return { lines, rest: Buffer.from(kept.subarray(0, RAW_LINE_BYTES_MAX)) }
}

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)$/

function utcTime(text: string): string | undefined {
  const [, seconds, fraction = '', zone] = TIME.exec(text) ?? []
  if (!seconds) return undefined
  if (zone === 'Z' || zone === '+00:00') return `${seconds}${fraction}Z`
  const ms = Date.parse(`${seconds}${zone}`)
  return Number.isNaN(ms) ? undefined : `${new Date(ms).toISOString().slice(0, 19)}${fraction}Z`
}

/** Order of two timestamps whose fractions may have different numbers of digits. */
export function byTime(a: { timestamp: string }, b: { timestamp: string }): number {
  const left = a.timestamp.replace('Z', '')
  const right = b.timestamp.replace('Z', '')
  return left < right ? -1 : left > right ? 1 : 0
}
