import { type ChildProcess, spawn } from 'node:child_process'
import { backoffMs } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import { RotatingLog } from '../base/rotating-log.ts'

/** A long-running process that its parent keeps alive. */
export interface UnitSpec {
  readonly name: string
  readonly argv: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly logFile: string
  /**
   * The process is ours: it says `{t:'ready'}` over IPC. Others count as ready once they have run
   * for READY_WITHOUT_IPC_MS.
   */
  readonly ipc?: boolean
  /** Handed down as descriptors 4, 5, ... (3 is IPC). Ours to keep open. */
  readonly fds?: readonly number[]
  /** Ends and restarts a process that has not said `{t:'alive'}` for so long. */
  readonly aliveMs?: number
  /** How long a process may go on after SIGTERM, before SIGKILL. */
  readonly graceMs?: number
}

export type UnitState = 'stopped' | 'starting' | 'ready' | 'backoff'

export interface UnitStatus {
  readonly name: string
  readonly state: UnitState
  readonly pid: number | null
  readonly restarts: number
  readonly since: number
}

const READY_WITHOUT_IPC_MS = 100
/** A process that ran for so long has earned a fresh back-off. */
const STABLE_MS = 10_000
const GRACE_MS = 5_000
const LOOKS_PER_ALIVE = 4

/**
 * Starts a process, restarts it with back-off (the first time at once), and replaces it without a
 * gap. Its children die with this process: each is started through `setpriv --pdeathsig KILL`.
 */
export class Unit {
  readonly spec: UnitSpec
  readonly #log: Logger
  readonly #output: RotatingLog
  #state: UnitState = 'stopped'
  #wanted = false
  #held = false
  #child: ChildProcess | undefined
  #startedMs = 0
  #failures = 0
  #restarts = 0
  #silentLooks = 0
  #timer: NodeJS.Timeout | undefined
  readonly #watchdog: NodeJS.Timeout | undefined
  readonly #retiring = new Set<ChildProcess>()
  readonly #listeners = new Set<(state: UnitState) => void>()

  constructor(spec: UnitSpec, log: Logger) {
    this.spec = spec
    this.#log = log.child({ unit: spec.name })
    this.#output = new RotatingLog(spec.logFile)
    if (spec.aliveMs)
      this.#watchdog = setInterval(() => this.#checkAlive(), spec.aliveMs / LOOKS_PER_ALIVE)
  }

  get state(): UnitState {
    return this.#state
  }

  /** Somebody stopped it on purpose, and only `start` from outside may bring it back. */
  get held(): boolean {
    return this.#held
  }

  get status(): UnitStatus {
    return {
      name: this.spec.name,
      state: this.#state,
      pid: this.#child?.pid ?? null,
      restarts: this.#restarts,
      since: this.#startedMs,
    }
  }

  onState(listener: (state: UnitState) => void): void {
    this.#listeners.add(listener)
  }

  /** Starts the process and keeps it running from now on. */
  start(): void {
    this.#wanted = true
    this.#held = false
    if (this.#state === 'stopped' || this.#state === 'backoff') this.#spawn()
  }

  /** Ends the process for good: SIGTERM, after `graceMs` SIGKILL. Resolves when it is gone. */
  async stop({ hold = false } = {}): Promise<void> {
    this.#wanted = false
    this.#held ||= hold
    clearTimeout(this.#timer)
    const child = this.#child
    if (child) await this.#end(child)
    this.#setState('stopped')
  }

  /** SIGKILL now; `keepDown` leaves it so until `start`. */
  kill({ keepDown }: { keepDown: boolean }): void {
    if (keepDown) {
      this.#wanted = false
      this.#held = true
      clearTimeout(this.#timer)
    }
    this.#child?.kill('SIGKILL')
    if (!this.#child) this.#setState(keepDown ? 'stopped' : this.#state)
  }

  /**
   * Starts a second process, and ends the first only when the second is ready; until then the unit is
   * as ready as it was. Throws when the second ends or takes too long; the first then goes on.
   */
  async replace(readyTimeoutMs = 10_000): Promise<void> {
    if (!this.#child || this.#state !== 'ready') return this.start()
    const next = this.#launch()
    const why = await becomesReady(next, readyTimeoutMs)
    if (why !== undefined) {
      next.kill('SIGKILL')
      throw new Error(`${this.spec.name} was not replaced: ${why}; its log: ${this.spec.logFile}`)
    }
    const old = this.#child
    this.#child = next
    this.#startedMs = Date.now()
    this.#silentLooks = 0
    if (this.#wanted) this.#setState('ready')
    for (const retiring of [old, this.#wanted ? undefined : next]) {
      if (retiring) void this.#retire(retiring)
    }
  }

  async #retire(child: ChildProcess): Promise<void> {
    this.#retiring.add(child)
    await this.#end(child)
    this.#retiring.delete(child)
  }

  send(message: object): void {
    if (this.#child?.connected) this.#child.send(message, () => {})
  }

  /** Called with every message that the process sends. */
  onMessage: (message: { t: string; [key: string]: unknown }) => void = () => {}

  waitReady(timeoutMs: number): Promise<void> {
    if (this.#state === 'ready') return Promise.resolve()
    return new Promise((resolve, reject) => {
      const done = (state: UnitState) => {
        if (state !== 'ready') return
        this.#listeners.delete(done)
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#listeners.delete(done)
        reject(
          new Error(
            `${this.spec.name} was not ready after ${timeoutMs} ms; its log: ${this.spec.logFile}`,
          ),
        )
      }, timeoutMs)
      this.#listeners.add(done)
    })
  }

  async close(): Promise<void> {
    clearInterval(this.#watchdog)
    await this.stop()
    await Promise.all([...this.#retiring].map((child) => this.#end(child)))
    this.#output.close()
  }

  #spawn(): void {
    clearTimeout(this.#timer)
    const child = this.#launch()
    this.#child = child
    this.#startedMs = Date.now()
    this.#silentLooks = 0
    this.#setState('starting')
    if (this.spec.ipc) return
    this.#timer = setTimeout(
      () => child === this.#child && this.#setState('ready'),
      READY_WITHOUT_IPC_MS,
    )
  }

  #launch(): ChildProcess {
    const { argv, env, ipc, fds = [] } = this.spec
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', ipc ? 'ipc' : 'ignore', ...fds],
    })
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => this.#output.write(chunk))
      stream.on('error', () => {})
    }
    child.on('error', (error) => this.#ended(child, error.message))
    child.on('exit', (code, signal) => this.#ended(child, signal ?? `exit code ${code}`))
    child.on('message', (message: { t: string }) => {
      if (child === this.#child) this.#heard(message)
    })
    return child
  }

  #heard(message: { t: string }): void {
    this.#silentLooks = 0
    if (message.t === 'ready') this.#setState('ready')
    else if (message.t !== 'alive') this.onMessage(message)
  }

  #ended(child: ChildProcess, how: string): void {
    if (child !== this.#child) return // It was replaced.
    this.#child = undefined
    clearTimeout(this.#timer)
    if (!this.#wanted) {
      this.#setState('stopped')
      return
    }
    const ranMs = Date.now() - this.#startedMs
    this.#failures = ranMs > STABLE_MS ? 0 : this.#failures + 1
    this.#restarts += 1
    const waitMs = this.#failures <= 1 ? 10 : backoffMs(this.#failures - 1, Math.random)
    this.#log.warn({ how, ranMs, restartInMs: Math.round(waitMs) }, 'unit ended')
    this.#setState('backoff')
    this.#timer = setTimeout(() => this.#wanted && this.#spawn(), waitMs)
  }

  /** Counts looks, not time: a parent that was held up itself has not read what its child said. */
  #checkAlive(): void {
    if (!this.#child || this.#state !== 'ready') return
    if (++this.#silentLooks <= LOOKS_PER_ALIVE) return
    this.#log.error({ pid: this.#child.pid, aliveMs: this.spec.aliveMs }, 'unit hangs; killing it')
    this.#child.kill('SIGKILL')
  }

  #end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null || !child.pid) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), this.spec.graceMs ?? GRACE_MS)
      child.once('exit', () => {
        clearTimeout(timer)
        resolve()
      })
      child.kill('SIGTERM')
    })
  }

  #setState(state: UnitState): void {
    if (state === this.#state) return
    this.#state = state
    for (const listener of [...this.#listeners]) listener(state)
  }
}

/** Resolves when the process says that it is ready, else with the reason why not. */
function becomesReady(child: ChildProcess, timeoutMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(`not ready after ${timeoutMs} ms`), timeoutMs)
    const settle = (why?: string) => {
      clearTimeout(timer)
      resolve(why)
    }
    child.once('exit', (code, signal) => settle(`it ended (${signal ?? `exit code ${code}`})`))
    child.once('error', (error) => settle(error.message))
    child.on('message', (message: { t: string }) => {
      if (message.t === 'ready') settle()
    })
  })
}
