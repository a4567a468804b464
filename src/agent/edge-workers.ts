import { Worker } from 'node:worker_threads'
import { TRAFFIC_MEMORY } from '../base/worker-memory.ts'
import type { Explanation } from '../model/explanation.ts'
import type { AppLogLine } from '../proxy/errors/app-log.ts'
import type { ExplainQuestion } from '../proxy/explain/explainer.ts'
import type { ObservedBatch } from '../proxy/observe/outlet.ts'
import { newRateMemory } from '../proxy/rates/rate-table.ts'
import type { EdgeConfig } from './edge-config.ts'
import type { FromWorker, ToWorker, WorkerData, WorkerMetrics } from './edge-messages.ts'
import { Questions } from './questions.ts'

export interface WorkersEvents {
  /** All workers route by the state at this revision. */
  onApplied(revision: number): void
  onLog(line: AppLogLine): void
  /** A service's bucket of load may have changed. */
  onLoadChanged(): void
  /** Every worker has forgotten the machines of all turns up to this one. */
  onForgotten(turn: number): void
  /** Lines and spans; the worker waits for `done`. */
  onObserved(batch: ObservedBatch, done: () => void): void
  /** A worker ended by itself. */
  onFailed(error: Error): void
}

/** The edge's worker threads as one. */
export class EdgeWorkers {
  readonly #members: Member[]
  readonly #events: WorkersEvents
  readonly #questions = new Questions()
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

  /** Of the workers that answer in time. */
  async metrics(): Promise<WorkerMetrics[]> {
    const asked = this.#members.map((member) =>
      this.#ask<WorkerMetrics>(member, (id) => ({ t: 'metrics', id })),
    )
    return (await Promise.all(asked)).filter((answer) => answer !== null)
  }

  /** Null when the worker does not answer. All have the same view, so any of them will do. */
  explain(question: ExplainQuestion): Promise<Explanation | null> {
    return this.#ask(this.#members[0]!, (id) => ({ t: 'explain', id, question }))
  }

  #ask<T>(member: Member, message: (id: number) => ToWorker): Promise<T | null> {
    return this.#questions.ask((id) => send(member, message(id)))
  }

  #start(
    config: EdgeConfig,
    own: Pick<WorkerData, 'listenFd' | 'worker' | 'loads' | 'rates'>,
  ): Member {
    const { host, region, appsDomains, meshAddress, backhaulPort, drainMs } = config
    const workerData: WorkerData = {
      ...{ host, region, appsDomains, meshAddress, backhaulPort, drainMs, ...own },
      observe: { accessLog: config.accessLog, traces: config.traces },
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
      case 'explained':
        this.#questions.answered(message.id, message.answer)
        break
      case 'observed':
        this.#events.onObserved(message.batch, () =>
          send(member, { t: 'observed', bytes: message.batch.bytes }),
        )
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
