import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { FeedLine } from '../model/wire.ts'
import { ReplicaBatcher } from './replica-batch.ts'

export interface ReplicaWriterOptions {
  readonly path: string
  readonly log: Logger
  /** The whole state as lines, to begin again after the disk has failed. */
  readonly state: () => Iterable<FeedLine>
  readonly flushMs?: number
  readonly retryMs?: number
}

/** At most one transaction in this time. */
export const REPLICA_FLUSH_MS = 50
const RETRY_MS = 5_000
const CLOSE_MS_MAX = 2_000

/**
 * Keeps the replica up to date from a thread of its own, so that nothing waits for the disk. One
 * batch is under way at a time; what comes meanwhile is collected by key, so that a slow disk costs
 * at most another copy of the state. When writing fails the replica keeps its older state, and is
 * given the whole of the newest after a while.
 */
export class ReplicaWriter {
  readonly #options: ReplicaWriterOptions
  readonly #batcher = new ReplicaBatcher()
  #worker: Worker | undefined
  #busy = false
  #failed = false
  #closed = false
  #inSnapshot = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: ReplicaWriterOptions) {
    this.#options = options
    this.#worker = this.#start()
  }

  /** Takes the next line of the feed. */
  apply(line: FeedLine): void {
    if (line.t === 'snapshot') this.#inSnapshot = true
    else if (line.t === 'synced') this.#inSnapshot = false
    if (this.#failed || this.#closed) return
    this.#batcher.add(line)
    this.#schedule()
  }

  /** Writes what is left, for at most CLOSE_MS_MAX. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    const worker = this.#worker
    if (!worker) return
    this.#worker = undefined
    if (!this.#batcher.isEmpty) worker.postMessage(this.#batcher.take())
    worker.postMessage('close')
    const late = AbortSignal.timeout(CLOSE_MS_MAX)
    await once(worker, 'exit', { signal: late }).catch(() => worker.terminate())
  }

  #start(): Worker {
    const { path } = this.#options
    const worker = new Worker(new URL('./replica-worker.ts', import.meta.url), {
      workerData: { path },
    })
    worker.on('message', ({ error }: { error?: string }) => {
      this.#busy = false
      if (error !== undefined) this.#fail(error)
      else this.#schedule()
    })
    worker.on('error', (error) => {
      this.#worker = undefined
      this.#fail(messageOf(error))
    })
    return worker
  }

  #schedule(): void {
    if (this.#busy || this.#closed || this.#batcher.isEmpty) return
    const { flushMs = REPLICA_FLUSH_MS } = this.#options
    this.#timer ??= setTimeout(() => this.#flush(), flushMs)
  }

  #flush(): void {
    this.#timer = undefined
    this.#busy = true
    this.#worker?.postMessage(this.#batcher.take())
  }

  #fail(reason: string): void {
    if (this.#closed) return
    this.#options.log.error({ error: reason }, 'the replica cannot be written; trying again')
    this.#failed = true
    this.#busy = false
    this.#batcher.clear()
    this.#retry()
  }

  #retry(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#recover(), this.#options.retryMs ?? RETRY_MS)
  }

  #recover(): void {
    this.#timer = undefined
    // Half of a snapshot has passed by, so that only a state after it can be followed on from.
    if (this.#inSnapshot) {
      this.#retry()
      return
    }
    this.#failed = false
    this.#worker ??= this.#start()
    for (const line of this.#options.state()) this.#batcher.add(line)
    this.#schedule()
  }
}
