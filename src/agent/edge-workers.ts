import { Worker } from 'node:worker_threads'
import type { CounterSnapshot } from '../proxy/counters.ts'
import type { EdgeConfig } from './edge-config.ts'
import type { FromWorker, ToWorker, WorkerData } from './edge-messages.ts'

/** Room for what dies young: requests' strings. Less makes collections more frequent, more slower. */
const YOUNG_GENERATION_MB = 32
const METRICS_TIMEOUT_MS = 1_000

export interface WorkersEvents {
  /** All workers route by the state at this revision. */
  onApplied(revision: number): void
  onMessage(message: Extract<FromWorker, { t: 'log' | 'load' }>): void
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

  constructor(config: EdgeConfig, events: WorkersEvents) {
    this.#events = events
    this.#members = config.listenFds.map((fd) => this.#start(config, fd))
  }

  /** Revision that all workers have applied. */
  get applied(): number {
    return this.#applied
  }

  post(message: ToWorker): void {
    for (const { worker } of this.#members) worker.postMessage(message)
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
    const asked = this.#members.map(({ worker }) => {
      const id = ++this.#metricsId
      return new Promise<CounterSnapshot | null>((resolve) => {
        const give = (snapshot: CounterSnapshot | null) => {
          clearTimeout(timer)
          this.#metrics.delete(id)
          resolve(snapshot)
        }
        const timer = setTimeout(() => give(null), METRICS_TIMEOUT_MS)
        this.#metrics.set(id, give)
        worker.postMessage({ t: 'metrics', id } satisfies ToWorker)
      })
    })
    return (await Promise.all(asked)).filter((snapshot) => snapshot !== null)
  }

  #start(config: EdgeConfig, listenFd: number): Member {
    const { host, region, appsDomains, meshAddress, backhaulPort, drainMs } = config
    const workerData: WorkerData = {
      ...{ host, region, appsDomains, meshAddress, backhaulPort, drainMs, listenFd },
    }
    const worker = new Worker(new URL('./edge-worker.ts', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    })
    const member: Member = {
      ...{ worker, revision: 0, pongAt: performance.now() },
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
      default:
        this.#events.onMessage(message)
    }
  }

  #onApplied(): void {
    const applied = Math.min(...this.#members.map(({ revision }) => revision))
    if (applied === this.#applied) return
    this.#applied = applied
    this.#events.onApplied(applied)
  }
}

interface Member {
  readonly worker: Worker
  revision: number
  pongAt: number
  readonly listening: PromiseWithResolvers<void>
  readonly drained: PromiseWithResolvers<void>
}
