import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../base/clock.ts'
import { ulid } from '../base/ids.ts'
import { MachineConfig } from '../model/machine-config.ts'
import type { Host, Machine, MachineEgress } from '../model/resources.ts'
import type { AttachedMachine, MachineNetwork } from './network.ts'
import type { ExitListener, Runtime, Sandbox, SandboxSpec } from './runtime.ts'

/** Stand-ins for tests: time, runtime and network that do what they are told, and nothing else. */

interface Sleeper {
  readonly atMs: number
  readonly wake: () => void
}

/** Time that stands still until `advance`. */
export class FakeClock implements Clock {
  #nowMs: number
  #sleepers: Sleeper[] = []

  constructor(nowMs = 1_000_000) {
    this.#nowMs = nowMs
  }

  now(): number {
    return this.#nowMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve }
      this.#sleepers.push(sleeper)
      signal?.addEventListener('abort', () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper)
        reject(signal.reason)
      })
    })
  }

  /** Lets `ms` pass, waking sleepers in order, with everything that follows from each. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    await quiet()
    for (;;) {
      const [next] = this.#sleepers.toSorted((a, b) => a.atMs - b.atMs)
      if (!next || next.atMs > untilMs) break
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      this.#sleepers = this.#sleepers.filter((sleeper) => sleeper !== next)
      next.wake()
      await quiet()
    }
    this.#nowMs = untilMs
  }
}

const QUIET_TURNS = 10

/** Until everything that follows without time or files has happened. */
export async function quiet(): Promise<void> {
  for (let i = 0; i < QUIET_TURNS; i++) await nextTurn()
}

/** Sandboxes in memory. They outlive whoever holds the manager, like real ones. */
export class FakeRuntime implements Runtime {
  readonly sandboxes = new Map<string, Sandbox>()
  /** Every call, as `create a1`. */
  readonly calls: string[] = []
  /** Signals that end a program; others are only heard. */
  deadly: ReadonlySet<string> = new Set(['SIGINT', 'SIGTERM', 'SIGKILL'])
  /** Thrown by the next call of that kind. */
  createError: Error | undefined
  startError: Error | undefined
  killError: Error | undefined
  deleteError: Error | undefined
  /** Thrown by `create` while it is there. */
  broken: Error | undefined
  onExit: ExitListener = () => false
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async list() {
    return new Map(this.sandboxes)
  }

  async create({ id }: SandboxSpec): Promise<void> {
    this.calls.push(`create ${id}`)
    const error = this.createError ?? this.broken
    this.createError = undefined
    if (error) throw error
    this.sandboxes.set(id, { state: 'created', pid: 1, exit: null })
  }

  async start(id: string): Promise<void> {
    this.calls.push(`start ${id}`)
    const error = this.startError
    this.startError = undefined
    if (error) throw error
    if (this.sandboxes.get(id)?.state !== 'created') throw new Error(`${id} is not created`)
    this.sandboxes.set(id, { state: 'running', pid: 1, exit: null })
  }

  async kill(id: string, signal: string): Promise<void> {
    this.calls.push(`kill ${id} ${signal}`)
    const error = this.killError
    this.killError = undefined
    if (error) throw error
    if (this.deadly.has(signal)) this.exit(id, signal === 'SIGKILL' ? 137 : 0)
  }

  async delete(id: string): Promise<void> {
    this.calls.push(`delete ${id}`)
    const error = this.deleteError
    this.deleteError = undefined
    if (error) throw error
    const runs = ['created', 'running'].includes(this.sandboxes.get(id)?.state ?? '')
    this.sandboxes.delete(id)
    // Who listens may hear of it before the record of it is gone.
    if (runs) this.onExit(id, { code: 137, oomKilled: false, atMs: this.#clock.now() })
  }

  /** A sandbox ends before its program was started. */
  wither(id: string): void {
    if (this.sandboxes.get(id)?.state !== 'created') return
    const exit = { code: 137, oomKilled: false, atMs: this.#clock.now() }
    this.sandboxes.set(id, { state: 'stopped', pid: 0, exit })
    this.onExit(id, exit)
  }

  /** The program ends by itself. */
  exit(id: string, code: number): void {
    if (this.sandboxes.get(id)?.state !== 'running') return
    const exit = { code, oomKilled: false, atMs: this.#clock.now() }
    this.sandboxes.set(id, { state: 'stopped', pid: 0, exit })
    this.onExit(id, exit)
  }
}

export class FakeNetwork implements MachineNetwork {
  readonly attached = new Set<string>()
  /** By which source each of `attached` leaves. */
  readonly egress = new Map<string, MachineEgress | null>()
  /** Thrown by `attach` while it is there. */
  error: Error | undefined
  /** Those of `attached` that nothing may leave. */
  readonly silent = new Set<string>()

  async attach({ id, egress }: AttachedMachine) {
    if (this.error) throw this.error
    this.attached.add(id)
    this.egress.set(id, egress)
    this.silent.delete(id)
    return { netnsPath: `/run/netns/${id}` }
  }

  async detach(id: string): Promise<void> {
    this.attached.delete(id)
    this.egress.delete(id)
    this.silent.delete(id)
  }

  async silence(id: string): Promise<void> {
    if (this.attached.has(id)) this.silent.add(id)
  }

  async list(): Promise<string[]> {
    return [...this.attached]
  }
}

export const fakeHost: Host = {
  ...{ id: 'iad1', region: 'iad', index: 1, meshPublicKey: null },
  ...{ underlayV4: '10.0.0.1', underlayV6: '2001:db8::1' },
}

export function fakeMachine(change: Partial<Machine> = {}, config: object = {}): Machine {
  return {
    ...{ id: 'a1', name: 'm', app: 'web', org: 'personal', networkId: 1, host: 'iad1' },
    ...{ region: 'iad', v4: '172.16.0.2', v6: 'fdaa:0:1:a7b:1:0:1:2' },
    instanceId: ulid(0),
    config: MachineConfig.parse({ image: 'web:1', init: { cmd: ['serve'] }, ...config }),
    ...{ desired: 'started', generation: 1, action: null, cordoned: false, secretsVersion: 1 },
    egress: null,
    testTarget: null,
    ...{ createdAt: '', updatedAt: '' },
    ...change,
  }
}
