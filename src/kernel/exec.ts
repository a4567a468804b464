import { spawn } from 'node:child_process'

/** The one door to commands: argv and text (style rule 8). Fakes fail on commands that they do not know. */
export interface Exec {
  /** Standard output. Throws `CommandError` when the command fails or takes longer than `timeoutMs`. */
  run(argv: readonly string[], options?: { stdin?: string; timeoutMs?: number }): Promise<string>
}

export const COMMAND_TIMEOUT_MS = 30_000
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024

export class CommandError extends Error {
  readonly code = 'command_failed'
  readonly argv: readonly string[]
  readonly exitCode: number | null
  readonly stderr: string
  constructor(argv: readonly string[], exitCode: number | null, stderr: string) {
    super(`${argv.slice(0, 6).join(' ')}: ${stderr.trim() || `exit code ${exitCode}`}`)
    this.name = 'CommandError'
    this.argv = argv
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

export const systemExec: Exec = {
  run(argv, { stdin, timeoutMs = COMMAND_TIMEOUT_MS } = {}) {
    return new Promise((resolve, reject) => {
      const [command, ...args] = argv
      const child = spawn(command!, args, {
        stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
        env: { ...process.env, LC_ALL: 'C' },
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
      })
      let out = ''
      let err = ''
      child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        out += text
        if (out.length > OUTPUT_BYTES_MAX) child.kill('SIGKILL')
      })
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        if (err.length < 64 * 1024) err += text
      })
      child.on('error', (error) => reject(new CommandError(argv, null, error.message)))
      child.on('close', (code, signal) => {
        if (code === 0) resolve(out)
        else reject(new CommandError(argv, code, err || (signal ? `ended by ${signal}` : '')))
      })
      child.stdin?.on('error', () => {}) // The command may end before it has read everything.
      child.stdin?.end(stdin)
    })
  },
}

/** The same commands in a network namespace that `ip netns` knows. */
export const inNetns = (exec: Exec, netns: string): Exec => ({
  run: (argv, options) => exec.run(['ip', 'netns', 'exec', netns, ...argv], options),
})
