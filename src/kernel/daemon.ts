import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { CommandError } from './exec.ts'

const ANSWER_BYTES_MAX = 64 * 1024
/** The pipe's number in the child; conmon reads it from `_OCI_SYNCPIPE`. */
const SYNC_FD = 3

/**
 * Starts a command that becomes a daemon, and resolves with the first line that it writes to its
 * sync pipe. The daemon keeps nothing of ours: its standard streams are /dev/null. Throws
 * `CommandError` when the pipe closes without a line, or after `timeoutMs`.
 */
export function startDaemon(
  argv: readonly string[],
  options: { timeoutMs: number; cwd: string; syncVariable: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const [command, ...args] = argv
    const child = spawn(command!, args, {
      cwd: options.cwd,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env.PATH,
        LC_ALL: 'C',
        TZ: 'UTC',
        [options.syncVariable]: String(SYNC_FD),
      },
      detached: true,
    })
    const pipe = child.stdio[SYNC_FD] as Readable
    let text = ''
    let exit = ''
    const finish = (error?: Error) => {
      clearTimeout(timer)
      pipe.destroy()
      if (error) reject(error)
      else resolve(text.slice(0, text.indexOf('\n')))
    }
    const fail = (why: string) => finish(new CommandError(argv, child.exitCode, why))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      fail(`no answer within ${options.timeoutMs} ms`)
    }, options.timeoutMs)
    pipe.setEncoding('utf8')
    pipe.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('\n')) finish()
      else if (text.length > ANSWER_BYTES_MAX) fail('answer too long')
    })
    pipe.on('error', () => {}) // `close` follows.
    pipe.on('close', () => fail(`ended without an answer${exit}`))
    child.on('error', (error) => fail(error.message))
    child.on('exit', (code, signal) => {
      exit = code === 0 ? '' : ` (${signal ?? `exit code ${code}`})`
    })
  })
}
