import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { FairwayError, notFound } from '../base/errors.ts'
import { LineSplitter } from '../base/ndjson.ts'
import type { AgentCall, FeedLine } from '../model/wire.ts'

/**
 * Questions to agents. They go down the host's feed; the agent answers with a request of its own
 * whose body is the answer, line by line, for as long as somebody reads it.
 */

export const CALLS_PENDING_MAX = 1_024
export const CALLS_QUEUED_PER_HOST_MAX = 256
/** An agent that has not begun to answer by then will not. */
export const CALL_ANSWER_TIMEOUT_MS = 3_000
export const ANSWER_LINE_BYTES_MAX = 256 * 1024

interface Pending {
  readonly host: string
  readonly answered: PromiseWithResolvers<Readable>
  /** Resolved when nobody reads the answer any more. */
  readonly over: PromiseWithResolvers<void>
}

export class AgentCalls {
  readonly #clock: Clock
  readonly #feeds = new Map<string, LineQueue>()
  readonly #pending = new Map<string, Pending>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The lines to write into a host's feed. A newer feed of the same host takes the place of this. */
  connect(host: string): { lines: AsyncIterable<FeedLine>; close(): void } {
    const queue = new LineQueue()
    this.#feeds.get(host)?.close()
    this.#feeds.set(host, queue)
    const close = () => {
      queue.close()
      if (this.#feeds.get(host) === queue) this.#feeds.delete(host)
    }
    return { lines: queue, close }
  }

  isConnected(host: string): boolean {
    return this.#feeds.has(host)
  }

  /**
   * The lines of the answer, each as the JSON that it holds. Throws `host_unreachable` when the host
   * does not begin to answer; ends when the answer does, or quietly when the signal aborts.
   */
  async *call(host: string, call: AgentCall, signal: AbortSignal): AsyncGenerator<unknown> {
    const id = randomBytes(12).toString('hex')
    const pending = this.#ask(host, id, call)
    try {
      const stream = await this.#answer(host, pending, signal)
      if (stream) yield* linesOf(stream, signal)
    } finally {
      this.#pending.delete(id)
      pending.over.resolve()
    }
  }

  /** Hands in the answer to a call; resolves when it has been read, or nobody wants more of it. */
  async answer(host: string, id: string, stream: Readable): Promise<void> {
    const pending = this.#pending.get(id)
    if (!pending || pending.host !== host)
      throw notFound(`call ${id.slice(0, 32)}: nobody waits for an answer to it`)
    pending.answered.resolve(stream)
    await pending.over.promise
  }

  #ask(host: string, id: string, call: AgentCall): Pending {
    const feed = this.#feeds.get(host)
    if (!feed) throw unreachable(host, 'its agent is not connected')
    if (this.#pending.size >= CALLS_PENDING_MAX) {
      const message = `${CALLS_PENDING_MAX} calls to agents are under way; try again later`
      throw new FairwayError('busy', message, { status: 429 })
    }
    const pending: Pending = {
      host,
      answered: Promise.withResolvers(),
      over: Promise.withResolvers(),
    }
    if (!feed.push({ t: 'call', id, call })) throw unreachable(host, 'it does not take calls')
    this.#pending.set(id, pending)
    return pending
  }

  async #answer(host: string, pending: Pending, signal: AbortSignal) {
    const timer = new AbortController()
    const until = AbortSignal.any([signal, timer.signal])
    const late = this.#clock.sleep(CALL_ANSWER_TIMEOUT_MS, until).catch(() => {})
    try {
      const stream = await Promise.race([pending.answered.promise, late])
      if (stream || signal.aborted) return stream ?? undefined
      throw unreachable(host, `it has not answered in ${CALL_ANSWER_TIMEOUT_MS} ms`)
    } finally {
      timer.abort()
    }
  }
}

/** 412, not 503: clients repeat a 503 by themselves, three times. */
const unreachable = (host: string, why: string): FairwayError =>
  new FairwayError('host_unreachable', `host "${host}" cannot be asked: ${why}`, { status: 412 })

/** Leaves the stream as it is when it stops early: the agent is still to get its reply. */
async function* linesOf(stream: Readable, signal: AbortSignal): AsyncGenerator<unknown> {
  const splitter = new LineSplitter(ANSWER_LINE_BYTES_MAX)
  const chunks = stream.iterator({ destroyOnReturn: false })
  const aborted = new Promise<undefined>((resolve) => {
    if (signal.aborted) resolve(undefined)
    else signal.addEventListener('abort', () => resolve(undefined), { once: true })
  })
  for (;;) {
    const chunk = await Promise.race([chunks.next(), aborted])
    if (!chunk || chunk.done) return
    for (const line of splitter.push(chunk.value as Buffer)) yield parseLine(line)
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

/** Lines that wait for the feed to take them. */
class LineQueue implements AsyncIterable<FeedLine> {
  #lines: FeedLine[] = []
  #closed = false
  #wake = () => {}

  /** False when it is full or closed. */
  push(line: FeedLine): boolean {
    if (this.#closed || this.#lines.length >= CALLS_QUEUED_PER_HOST_MAX) return false
    this.#lines.push(line)
    this.#wake()
    return true
  }

  close(): void {
    this.#closed = true
    this.#wake()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FeedLine> {
    for (;;) {
      const line = this.#lines.shift()
      if (line) yield line
      else if (this.#closed) return
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }
}
