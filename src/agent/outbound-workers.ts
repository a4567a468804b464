import { Worker } from 'node:worker_threads'
import type { Logger } from '../base/log.ts'
import { TRAFFIC_MEMORY } from '../base/worker-memory.ts'
import { duplicate } from '../kernel/listener.ts'
import type { CounterSnapshot } from '../outbound/counters.ts'
import type { ServedProxy } from '../outbound/directory.ts'
import { Meter } from '../outbound/meter.ts'
import type { ServedChange } from '../outbound/served.ts'
import type { OutboundConfig } from './outbound-config.ts'
import type {
  FromOutboundWorker,
  OutboundWorkerData,
  ToOutboundWorker,
} from './outbound-messages.ts'
import { Questions } from './questions.ts'

/** A worker that died is back after this; the others have its connections' successors meanwhile. */
const RESTART_MS = 200

export interface OutboundWorkersDeps {
  readonly config: OutboundConfig
  readonly tls: OutboundWorkerData['tls']
  /** Of as many workers as there are. */
  readonly meter: SharedArrayBuffer
  /** What a worker that begins has to know. */
  readonly all: () => readonly ServedProxy[]
  readonly onLines: (text: string) => void
  readonly log: Logger
}

interface Member {
  worker: Worker
  pongAt: number
  listening: PromiseWithResolvers<void>
  drained: PromiseWithResolvers<void>
}

/** The worker threads of the outbound process as one; one that dies is replaced. */
export class OutboundWorkers {
  readonly #deps: OutboundWorkersDeps
  readonly #members: Member[]
  readonly #questions = new Questions()
  #isListening = false
  #isDraining = false

  constructor(deps: OutboundWorkersDeps) {
    this.#deps = deps
    const { workers } = deps.config
    this.#members = Array.from({ length: workers }, (_, i) => this.#start(i))
  }

  change(change: ServedChange): void {
    for (const { worker } of this.#members) send(worker, { t: 'change', change })
  }

  /** Resolves when all accept connections. */
  async listen(): Promise<void> {
    this.#isListening = true
    for (const { worker } of this.#members) send(worker, { t: 'listen' })
    await Promise.all(this.#members.map(({ listening }) => listening.promise))
  }

  /** Resolves when all have finished what they had. */
  async drain(): Promise<void> {
    this.#isDraining = true
    for (const { worker } of this.#members) send(worker, { t: 'drain' })
    await Promise.all(this.#members.map(({ drained }) => drained.promise))
  }

  /** Whether every worker has answered a ping in the last `ms`; sends the next one. */
  answered(ms: number): boolean {
    for (const { worker } of this.#members) send(worker, { t: 'ping' })
    const since = performance.now() - ms
    return this.#members.every(({ pongAt }) => pongAt >= since)
  }

  async snapshots(): Promise<CounterSnapshot[]> {
    const asked = this.#members.map(({ worker }) =>
      this.#questions.ask<CounterSnapshot>((id) => send(worker, { t: 'metrics', id })),
    )
    return (await Promise.all(asked)).filter((snapshot) => snapshot !== null)
  }

  #start(index: number): Member {
    const { config, tls, meter } = this.#deps
    const { resolvers, neverPrefixes, drainMs, workers } = config
    const workerData: OutboundWorkerData = {
      // It closes its descriptor when it ends; ours is for its successor.
      ...{ listenFd: duplicate(config.listenFd), worker: index, workers },
      ...{ meter, resolvers, neverPrefixes, tls, drainMs },
    }
    const worker = new Worker(new URL('./outbound-worker.ts', import.meta.url), {
      workerData,
      resourceLimits: TRAFFIC_MEMORY,
    })
    const member: Member = {
      ...{ worker, pongAt: performance.now() },
      listening: Promise.withResolvers<void>(),
      drained: Promise.withResolvers<void>(),
    }
    for (const served of this.#deps.all()) send(worker, { t: 'change', change: served })
    if (this.#isListening) send(worker, { t: 'listen' })
    worker.on('message', (message: FromOutboundWorker) => this.#heard(member, message))
    worker.on('error', (error) =>
      this.#deps.log.error({ index, error: String(error) }, 'a worker failed'),
    )
    worker.on('exit', () => this.#replace(index, member))
    return member
  }

  #replace(index: number, member: Member): void {
    member.listening.resolve()
    member.drained.resolve()
    const { meter, config } = this.#deps
    new Meter(meter, config.workers, index, Date.now).forgetWorker(index)
    if (this.#isDraining) return
    setTimeout(() => {
      if (!this.#isDraining) this.#members[index] = this.#start(index)
    }, RESTART_MS)
  }

  #heard(member: Member, message: FromOutboundWorker): void {
    if (message.t === 'pong') member.pongAt = performance.now()
    else if (message.t === 'listening') member.listening.resolve()
    else if (message.t === 'drained') member.drained.resolve()
    else if (message.t === 'lines') this.#deps.onLines(message.text)
    else this.#questions.answered(message.id, message.snapshot)
  }
}

const send = (worker: Worker, message: ToOutboundWorker): void => worker.postMessage(message)
