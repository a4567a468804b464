import { type Clock, systemClock } from '../base/clock.ts'

/** What a command sees of the world around it, so that tests can be that world. */
export interface Io {
  readonly stdout: { write(text: string | Uint8Array): unknown }
  readonly stderr: { write(text: string | Uint8Array): unknown }
  readonly stdin: AsyncIterable<Uint8Array | string>
  /** Somebody sits at the terminal and can answer a prompt. */
  readonly interactive: boolean
  /** stderr is a terminal that shows colours. */
  readonly colour: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  readonly clock: Clock
  readonly random: () => number
  /** Fires when the person interrupts. */
  readonly signal: AbortSignal
}

export function processIo(signal: AbortSignal): Io {
  const { stdin, stdout, stderr, env } = process
  return {
    stdin,
    stdout,
    stderr,
    env,
    cwd: process.cwd(),
    interactive: Boolean(stdin.isTTY && stderr.isTTY),
    colour: Boolean(stderr.isTTY) && !env.NO_COLOR && env.TERM !== 'dumb',
    clock: systemClock,
    random: Math.random,
    signal,
  }
}
