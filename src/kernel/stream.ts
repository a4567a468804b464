import { spawn } from 'node:child_process'
import { LineSplitter } from '../base/ndjson.ts'
import { CommandError } from './exec.ts'

export interface StreamOptions {
  readonly onLine: (line: string) => void
  /** Ends the command. */
  readonly signal: AbortSignal
  /** SIGKILL after so long; without it the command runs until the signal fires. */
  readonly timeoutMs?: number
  readonly lineBytesMax?: number
}

const LINE_BYTES_MAX = 64 * 1024
const ERROR_CHARS_MAX = 64 * 1024

/**
 * Runs a command whose output is too much, or takes too long, to be waited for. Resolves when it has
 * ended by itself with code 0, or when the signal fired; throws `CommandError` otherwise.
 */
export async function streamLines(argv: readonly string[], options: StreamOptions): Promise<void> {
  const { onLine, signal, timeoutMs, lineBytesMax = LINE_BYTES_MAX } = options
  if (signal.aborted) return
  const [command, ...args] = argv
  // It must not outlive us: nobody would read what it says.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', command!, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
    ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
    killSignal: 'SIGKILL',
  })
  const end = () => child.kill('SIGKILL')
  signal.addEventListener('abort', end, { once: true })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const splitter = new LineSplitter(lineBytesMax)
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    try {
      for (const line of splitter.push(chunk)) onLine(line)
    } catch (error) {
      reject(error as Error)
      end()
    }
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (stderr.length < ERROR_CHARS_MAX) stderr += text
  })
  child.on('error', (error) => reject(new CommandError(argv, null, error.message)))
  child.on('close', (code, by) => {
    if (code === 0 || signal.aborted) resolve()
    else reject(new CommandError(argv, code, stderr || (by ? `ended by ${by}` : '')))
  })
  try {
    await promise
  } finally {
    signal.removeEventListener('abort', end)
  }
}
