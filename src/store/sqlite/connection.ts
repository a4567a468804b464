import { FairwayError, messageOf } from '../../base/errors.ts'
import type { WatchBatch } from '../store.ts'
import { type Peer, startHere, startThread } from './peer.ts'
import {
  type CallName,
  type Calls,
  type EngineOptions,
  type FromEngine,
  fromWire,
  type Opened,
  type Reply,
  type Request,
} from './protocol.ts'

export const PENDING_MAX = 10_000
export const PENDING_BYTES_MAX = 64 * 1024 * 1024
/** Opening may have to replay a long log. */
const OPEN_TIMEOUT_MS = 60_000
const CALL_TIMEOUT_MS = 30_000
const CLOSE_TIMEOUT_MS = 10_000

/** What the store itself asks, bounded elsewhere: a busy hour must not end a watch. */
const INTERNAL: ReadonlySet<CallName> = new Set(['changes', 'tick', 'feedOff'])

interface Pending {
  readonly bytes: number
  readonly sentAtMs: number
  readonly settle: (reply: Reply) => void
  readonly reject: (error: Error) => void
}

export interface ConnectionOptions extends EngineOptions {
  readonly ownThread: boolean
}

export interface ConnectionEvents {
  /** After the replies of the same group. */
  readonly onCommits: (batches: readonly WatchBatch[]) => void
  readonly onNextLeaseEnd: (at: number) => void
  /** Nothing more will come; also at `close`. */
  readonly onEnd: () => void
}

/** Calls to the engine and their answers. */
export class Connection {
  readonly #peer: Peer
  readonly #events: ConnectionEvents
  readonly #pending = new Map<number, Pending>()
  readonly #opened = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()
  readonly #watchdog: NodeJS.Timeout
  #outbox: Request[] = []
  #nextId = 1
  #bytes = 0
  #failure: FairwayError | undefined

  private constructor(options: ConnectionOptions, events: ConnectionEvents) {
    this.#events = events
    const start = options.ownThread ? startThread : startHere
    this.#peer = start(options, {
      onMessage: (message) => this.#receive(message),
      onError: (error) => this.#fail(crashed(error)),
      onEnd: () => {
        this.#fail(crashed('it ended'))
        this.#ended.resolve()
      },
    })
    this.#watchdog = setInterval(() => this.#timeOut(), 1_000).unref()
  }

  static async open(options: ConnectionOptions, events: ConnectionEvents): Promise<Connection> {
    const connection = new Connection(options, events)
    const late = () => connection.#fail(crashed(`it did not open within ${OPEN_TIMEOUT_MS} ms`))
    const timer = setTimeout(late, OPEN_TIMEOUT_MS)
    try {
      await connection.#opened.promise
      return connection
    } catch (error) {
      await connection.#peer.terminate()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** Why calls are refused, once they are. */
  get failure(): FairwayError | undefined {
    return this.#failure
  }

  /** `onResult` runs before the commits that follow the answer are published. */
  call<Name extends CallName>(
    name: Name,
    args: Calls[Name]['args'],
    now: number,
    options: { bytes?: number; onResult?: (result: Calls[Name]['result']) => void } = {},
  ): Promise<Calls[Name]['result']> {
    const { bytes = 0, onResult } = options
    if (this.#failure) return Promise.reject(this.#failure)
    if (this.#isFull(bytes) && !INTERNAL.has(name))
      return Promise.reject(busy(this.#pending.size, this.#bytes))
    const { promise, resolve, reject } = Promise.withResolvers<Calls[Name]['result']>()
    const id = this.#nextId++
    const settle = (reply: Reply) => {
      if ('error' in reply) return reject(fromWire(reply.error))
      const result = reply.result as Calls[Name]['result']
      onResult?.(result)
      resolve(result)
    }
    this.#pending.set(id, { bytes, sentAtMs: performance.now(), settle, reject })
    this.#bytes += bytes
    this.#send({ id, now, call: name, ...args } as Request)
    return promise
  }

  #isFull(bytes: number): boolean {
    return this.#pending.size >= PENDING_MAX || this.#bytes + bytes > PENDING_BYTES_MAX
  }

  /** Calls of one tick travel as one message. */
  #send(request: Request): void {
    this.#outbox.push(request)
    if (this.#outbox.length === 1) queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    const requests = this.#outbox
    this.#outbox = []
    if (requests.length > 0) this.#peer.post(requests)
  }

  #receive(message: Opened | FromEngine): void {
    if ('replies' in message) return this.#settle(message)
    if ('error' in message) return this.#fail(fromWire(message.error) as FairwayError)
    this.#opened.resolve()
    this.#events.onNextLeaseEnd(message.nextLeaseEnd)
  }

  #settle({ replies, batches, nextLeaseEnd, fatal }: FromEngine): void {
    for (const reply of replies) {
      const pending = this.#pending.get(reply.id)
      if (!pending) continue
      this.#pending.delete(reply.id)
      this.#bytes -= pending.bytes
      pending.settle(reply)
    }
    if (batches.length > 0) this.#events.onCommits(batches)
    if (fatal) this.#fail(fromWire(fatal) as FairwayError)
    else this.#events.onNextLeaseEnd(nextLeaseEnd)
  }

  #fail(error: FairwayError): void {
    if (!this.#failure) this.#failure = error
    this.#opened.reject(this.#failure)
    clearInterval(this.#watchdog)
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
    this.#bytes = 0
    this.#events.onEnd()
  }

  #timeOut(): void {
    const before = performance.now() - CALL_TIMEOUT_MS
    // The map keeps the order of the calls, so the first young one ends the search.
    for (const [id, { sentAtMs, bytes, reject }] of this.#pending) {
      if (sentAtMs > before) return
      this.#pending.delete(id)
      this.#bytes -= bytes
      reject(timedOut())
    }
  }

  /** What was called before is answered first. */
  async close(): Promise<void> {
    if (!this.#failure) {
      this.#flush()
      this.#peer.post('close')
      this.#failure = new FairwayError('store_closed', 'the store has been closed', { status: 503 })
      this.#events.onEnd()
    }
    const timer = setTimeout(() => void this.#peer.terminate(), CLOSE_TIMEOUT_MS)
    await this.#ended.promise
    clearTimeout(timer)
  }
}

const crashed = (cause: unknown) =>
  new FairwayError('store_failed', `the store's engine failed: ${messageOf(cause)}`, {
    status: 503,
    cause,
  })

const busy = (calls: number, bytes: number) =>
  new FairwayError(
    'store_busy',
    `${calls} calls (${bytes} bytes) wait for the store already; try again later`,
    { status: 503 },
  )

const timedOut = () =>
  new FairwayError(
    'store_timeout',
    `the store did not answer within ${CALL_TIMEOUT_MS} ms; whether it was done is not known`,
    { status: 504 },
  )
