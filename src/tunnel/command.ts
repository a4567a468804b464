import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { textOf } from './failure.ts'
import { findCommand, tool } from './programs.ts'
import { reaper } from './reaper.ts'
import type { Reporter } from './reporter.ts'
import { keepStreamsBlocking } from './streams.ts'
import type { Way } from './way.ts'

/** As shells have them. */
export const EXIT = { failed: 125, forbidden: 126, missing: 127, signal: 128 } as const

const FORWARDED = [
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
] as const
/** What a terminal sends to all of its foreground processes, the command among them. */
const FROM_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH']

/**
 * Runs a command to its end with our standard streams: signals go on to it, and it is told (SIGTERM)
 * when we die. Resolves with the exit code that a shell would show.
 */
export async function runCommand(
  command: readonly string[],
  way: Way,
  reporter: Reporter,
): Promise<number> {
  const [name = ''] = command
  const found = findCommand(name)
  if (found.t !== 'found') {
    reporter.warn(`${name}: ${found.t === 'missing' ? 'command not found' : 'may not be executed'}`)
    return found.t === 'missing' ? EXIT.missing : EXIT.forbidden
  }
  const argv = way.wrap([...toldOfOurDeath(), ...command])
  return await runToEnd([...reaper(reporter), ...argv], reporter, way.started)
}

/** The same with an argv that is complete. `started`: it gets a channel for messages, fd 3. */
export async function runToEnd(
  argv: readonly string[],
  reporter: Reporter,
  started?: (child: ChildProcess) => void,
): Promise<number> {
  keepStreamsBlocking()
  const [file, ...args] = argv
  const child = spawn(file!, args, {
    stdio: ['inherit', 'inherit', 'inherit', ...(started ? (['ipc'] as const) : [])],
  })
  const stop = forwardSignals(child)
  started?.(child)
  try {
    return await ended(child, reporter)
  } finally {
    stop()
  }
}

function ended(child: ChildProcess, reporter: Reporter): Promise<number> {
  return new Promise((resolve) => {
    child.on('error', (error) => {
      reporter.warn(`the command cannot be started (${textOf(error)})`)
      resolve(EXIT.forbidden)
    })
    child.on('exit', (code, signal) =>
      resolve(signal === null ? (code ?? EXIT.failed) : EXIT.signal + constants.signals[signal]),
    )
  })
}

function forwardSignals(child: ChildProcess): () => void {
  const handlers = FORWARDED.map((signal) => {
    const handler = () => {
      if (!(FROM_TERMINAL.includes(signal) && inForeground())) child.kill(signal)
    }
    process.on(signal, handler)
    return [signal, handler] as const
  })
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler)
  }
}

/** Whether we are of the foreground group of a terminal (proc(5): tty_nr, pgrp, tpgid). */
function inForeground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    // The name in parentheses may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [, , group, , terminal, foreground] = fields
    return terminal !== '0' && group === foreground
  } catch {
    return false
  }
}

/** prctl(PR_SET_PDEATHSIG), right before the command: changing ids clears it. */
function toldOfOurDeath(): readonly string[] {
  const setpriv = tool('setpriv')
  return setpriv ? [setpriv, '--pdeathsig', 'TERM', '--'] : []
}
