import { closeSync, openSync, readSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { streamLines } from '../../kernel/stream.ts'

/**
 * The whole connection tracking of the network namespace that this process is in, line by line.
 * /proc/net/nf_conntrack costs a fifth of what `conntrack -L` does; where the kernel has no such file
 * (CONFIG_NF_CONNTRACK_PROCFS) the command is used.
 */
export interface TableOptions {
  readonly path?: string
  readonly command?: readonly string[]
  readonly signal: AbortSignal
  /** What is not read by then is left out. */
  readonly timeoutMs?: number
}

export const TABLE_PATH = '/proc/net/nf_conntrack'
export const LIST_COMMAND = ['conntrack', '-L', '-o', 'extended'] as const
/** Four times the kernel's usual limit (nf_conntrack_max). */
export const ENTRIES_MAX = 1_048_576
const TIMEOUT_MS = 20_000
/** The kernel gives a page at a time. */
const READ_BYTES = 16_384
/** Read without a break: a millisecond or two. */
const PAGES_AT_ONCE = 24
/** Longer than any entry. */
const LINE_CHARS_MAX = 4_096

/** Resolves with whether the table was read to its end. Throws when it cannot be read at all. */
export async function readFlowTable(
  onLine: (line: string) => void,
  options: TableOptions,
): Promise<boolean> {
  const { path = TABLE_PATH, command = LIST_COMMAND, timeoutMs = TIMEOUT_MS } = options
  const bounded = AbortSignal.any([options.signal, AbortSignal.timeout(timeoutMs)])
  let entries = 0
  const count = (line: string): boolean => {
    if (++entries > ENTRIES_MAX) return false
    onLine(line)
    return true
  }
  const file = openTable(path)
  if (file !== undefined) {
    try {
      return await readLines(file, count, bounded)
    } finally {
      closeSync(file)
    }
  }
  const enough = new AbortController()
  const signal = AbortSignal.any([bounded, enough.signal])
  await streamLines(command, { onLine: (line) => count(line) || enough.abort(), signal })
  return !signal.aborted
}

function openTable(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Reads where it stands, a few pages at a time: the kernel formats a page in some 40 microseconds, and
 * the way through the thread pool would cost as much again.
 */
async function readLines(
  file: number,
  onLine: (line: string) => boolean,
  signal: AbortSignal,
): Promise<boolean> {
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  let rest = ''
  for (let pages = 1; !signal.aborted; pages++) {
    const bytes = readSync(file, buffer, 0, READ_BYTES, null)
    if (bytes === 0) return true
    const text = rest + buffer.toString('latin1', 0, bytes)
    let from = 0
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', from)) {
      if (!onLine(text.slice(from, at))) return false
      from = at + 1
    }
    rest = text.slice(from)
    if (rest.length > LINE_CHARS_MAX) throw new Error('connection tracking has an endless line')
    if (pages % PAGES_AT_ONCE === 0) await setImmediate()
  }
  return false
}
