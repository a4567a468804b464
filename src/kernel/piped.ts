import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'

/** A command whose streams are ours to read and write while it runs. */
export interface PipedCommand {
  readonly stdin: Writable
  readonly stdout: Readable
  readonly stderr: Readable
  /** What it writes to descriptor 3. */
  readonly notes: Readable
  /** Whether the command itself has ended; others may still hold its streams. */
  readonly over: boolean
  /** SIGKILL, and nothing more is read. */
  close(): void
}

type Streams = readonly [stdin: Writable, stdout: Readable, stderr: Readable, notes: Readable]

/** Starts a command with four pipes. That it could not be started shows on no stream but `onEnd`. */
export function startPiped(
  argv: readonly string[],
  onEnd: (error: Error | undefined) => void,
): PipedCommand {
  const [file, ...args] = argv
  const child: ChildProcess = spawn(file!, args, {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, LC_ALL: 'C' },
  })
  let over = false
  const ended = (error?: Error) => {
    if (over) return
    over = true
    onEnd(error)
  }
  child.on('error', ended)
  child.on('exit', () => ended())
  const [stdin, stdout, stderr, notes] = child.stdio as unknown as Streams
  for (const stream of [stdin, stdout, stderr, notes]) stream.on('error', () => {}) // It ends.
  return {
    ...{ stdin, stdout, stderr, notes },
    get over() {
      return over
    },
    close() {
      child.kill('SIGKILL')
      for (const stream of [stdin, stdout, stderr, notes]) stream.destroy()
    },
  }
}
