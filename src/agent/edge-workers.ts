import { Worker } from 'node:worker_threads'
import { TRAFFIC_MEMORY } from '../base/worker-memory.ts'
import type { CounterSnapshot } from '../proxy/counters.ts'
import type { AppLogLine } from '../proxy/errors/app-log.ts'
import { newRateMemory } from '../proxy/rates/rate-table.ts'
import type { EdgeConfig } from './edge-config.ts'
import type { FromWorker, ToWorker, WorkerData } from './edge-messages.ts'

const METRICS_TIMEOUT_MS = 1_000

export interface WorkersEvents {
  /** All workers route by the state at this revision. */
  onApplied(revision: number): void
  onLog(line: AppLogLine): void
  /** A service's bucket of load may have changed. */
  onLoadChanged(): void
  /** Every worker has forgotten the machines of all turns up to this one. */
  onForgotten(turn: number): void
  /** A worker ended by itself. */
  onFailed(error: Error): void
}

/** The edge's worker threads as one. */
export class EdgeWorkers {
  readonly #members: Member[]
  readonly #events: WorkersEvents
  readonly #metrics = new Map<number, (snapshot: CounterSnapshot) => void>()
  #metricsId = 0
  #applied = 0

  /** `loads`: where the workers count, see `LoadTable`. */
  constructor(config: EdgeConfig, loads: SharedArrayBuffer, events: WorkersEvents) {
    this.#events = events
    const rates = newRateMemory()
    this.#members = config.listenFds.map((listenFd, worker) =>
      this.#start(config, { listenFd, worker, loads, rates }),
    )
  }

  /** Revision that all workers have applied. */
  get applied(): number {
    return this.#applied
  }

  post(message: ToWorker): void {
    for (const member of this.#members) send(member, message)
  }

  /** Resolves when all accept connections. */
  async listen(): Promise<void> {
    this.post({ t: 'listen' })
    await Promise.all(this.#members.map(({ listening }) => listening.promise))
  }

  /** Resolves when all have finished what they had. */
  async drain(): Promise<void> {
    this.post({ t: 'drain' })
    await Promise.all(this.#members.map(({ drained }) => drained.promise))
  }

  /** Whether every worker has answered a ping in the last `ms`; sends the next one. */
  answered(ms: number): boolean {
    this.post({ t: 'ping' })
    const since = performance.now() - ms
    return this.#members.every(({ pongAt }) => pongAt >= since)
  }

  async snapshots(): Promise<CounterSnapshot[]> {
    const asked = this.#members.map((member) => {
      const id = ++this.#metricsId
      return new Promise<CounterSnapshot | null>((resolve) => {
        const give = (snapshot: CounterSnapshot | null) => {
          clearTimeout(timer)
          this.#metrics.delete(id)
          resolve(snapshot)
        }
        const timer = setTimeout(() => give(null), METRICS_TIMEOUT_MS)
        this.#metrics.set(id, give)
        send(member, { t: 'metrics', id })
      })
    })
    return (await Promise.all(asked)).filter((snapshot) => snapshot !== null)
  }

  #start(
    config: EdgeConfig,
    own: Pick<WorkerData, 'listenFd' | 'worker' | 'loads' | 'rates'>,
  ): Member {
    const { host, region, appsDomains, meshAddress, backhaulPort, drainMs } = config
    const workerData: WorkerData = {
      ...{ host, region, appsDomains, meshAddress, backhaulPort, drainMs, ...own },
    }
    const worker = new Worker(new URL('./edge-worker.ts', import.meta.url), {
      workerData,
      resourceLimits: TRAFFIC_MEMORY,
    })
    const member: Member = {
      ...{ worker, revision: 0, forgotten: 0, pongAt: performance.now() },
      listening: Promise.withResolvers<void>(),
      drained: Promise.withResolvers<void>(),
    }
    worker.on('message', (message: FromWorker) => this.#heard(member, message))
    worker.on('error', (error) => this.#events.onFailed(error as Error))
    return member
  }

  #heard(member: Member, message: FromWorker): void {
    switch (message.t) {
      case 'pong':
        member.pongAt = performance.now()
        break
      case 'applied':
        member.revision = message.revision
        this.#onApplied()
        break
      case 'listening':
        member.listening.resolve()
        break
      case 'drained':
        member.drained.resolve()
        break
      case 'metrics':
        this.#metrics.get(message.id)?.(message.snapshot)
        break
      case 'log':
        this.#events.onLog(message.line)
        break
      case 'load-changed':
        this.#events.onLoadChanged()
        break
      case 'forgotten':
        member.forgotten = message.turn
        this.#events.onForgotten(Math.min(...this.#members.map(({ forgotten }) => forgotten)))
        break
      case 'released':
        for (const other of this.#members)
          if (other !== member) send(other, { t: 'wake', app: message.app })
    }
  }

  #onApplied(): void {
    const applied = Math.min(...this.#members.map(({ revision }) => revision))
    if (applied === this.#applied) return
    this.#applied = applied
    this.#events.onApplied(applied)
  }
}

const send = ({ worker }: Member, message: ToWorker): void => worker.postMessage(message)

interface Member {
  readonly worker: Worker
  revision: number
  /** Turn up to which it has forgotten machines. */
  forgotten: number
  pongAt: number
  readonly listening: PromiseWithResolvers<void>
  readonly drained: PromiseWithResolvers<void>
}
