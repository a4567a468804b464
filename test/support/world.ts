import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A world of a test's own: its own state folder and free ports. `close` ends it and removes all. */
export interface TestWorld {
  readonly stateDir: string
  readonly appsPort: number
  readonly apiPort: number
  readonly token: string
  /** Runs ./fairway; throws with its output when it fails, unless `check` is false. */
  fairway(args: readonly string[], options?: RunOptions): Promise<Ran>
  /** Runs a command at a place. */
  exec(place: string, command: readonly string[], options?: RunOptions): Promise<Ran>
  close(): Promise<void>
}

export interface RunOptions {
  readonly check?: boolean
  readonly timeoutMs?: number
  readonly input?: string
}

export interface Ran {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

export const ROOT = join(import.meta.dirname, '..', '..')
const FAIRWAY = join(ROOT, 'bin', 'fairway')
const RUN_TIMEOUT_MS = 180_000

/** Runs a program to its end. */
export function run(
  argv: readonly string[],
  options: RunOptions & { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Ran> {
  const [file, ...args] = argv
  const child = spawn(file!, args, {
    env: options.env ?? process.env,
    cwd: options.cwd ?? ROOT,
    timeout: options.timeoutMs ?? RUN_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin.on('error', () => {})
  child.stdin.end(options.input ?? '')
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const ran = { status: code ?? (signal ? 137 : 1), stdout, stderr }
      if (ran.status === 0 || options.check === false) resolve(ran)
      else reject(new Error(`${argv.join(' ')}: exit ${ran.status}\n${stdout}\n${stderr}`))
    })
  })
}

/** As which user a world runs: an ordinary user, by name, or whoever runs the test. */
export async function upWorld(
  options: { user?: string; fairway?: string; upArgs?: readonly string[]; stateDir?: string } = {},
): Promise<TestWorld> {
  const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'fairway-test-'))
  const as = options.user ? ['runuser', '-u', options.user, '--'] : []
  if (options.user) {
    spawnSync('chown', [options.user, stateDir])
    chmodSync(stateDir, 0o700)
  }
  const env = { ...process.env, FAIRWAY_STATE: stateDir, NO_COLOR: '1' }
  const binary = options.fairway ?? FAIRWAY
  const fairway = (args: readonly string[], o: RunOptions = {}) =>
    run([...as, binary, ...args], { ...o, env })
  const up = await fairway(
    ['up', '--detach', '--port', '0', '--api-port', '0', ...(options.upArgs ?? [])],
    { timeoutMs: 480_000 },
  )
  const port = (pattern: RegExp) => Number(pattern.exec(up.stdout)?.[1])
  const token = (await fairway(['auth', 'token'])).stdout.trim()
  return {
    stateDir,
    appsPort: port(/localhost:(\d+)\//),
    apiPort: port(/127\.0\.0\.1:(\d+)/),
    token,
    fairway,
    exec: (place, command, o) => fairway(['world', 'exec', place, '--', ...command], o),
    async close() {
      await fairway(['down'], { check: false })
      const faults = faultsIn(stateDir)
      rmSync(stateDir, { recursive: true, force: true })
      if (faults.length > 0) throw new Error(`faults of ours were survived:\n${faults.join('\n')}`)
    },
  }
}

/** What the world's edges and outbound proxies wrote down of them (src/base/faults.ts). */
function faultsIn(stateDir: string): string[] {
  const logDir = join(stateDir, 'log')
  if (!existsSync(logDir)) return []
  return readdirSync(logDir, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.log'))
    .flatMap(({ parentPath, name }) => {
      return readFileSync(join(parentPath, name), 'utf8').match(FAULT) ?? []
    })
}
const FAULT = /^.*fault: a connection was closed.*(\n +at .*)*/gm

export const PATIENCE = 6

/** Polls until `probe` gives something, or fails with `what` after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined | false>,
): Promise<T> {
  // How fast is for bench/ to say: a slow machine is no failure.
  const deadline = Date.now() + timeoutMs * PATIENCE
  let last: unknown
  while (Date.now() < deadline) {
    try {
      const value = await probe()
      if (value !== undefined && value !== false) return value as T
    } catch (error) {
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${what}: not within ${timeoutMs} ms${last ? `; last: ${String(last)}` : ''}`)
}
