import type { Writable } from 'node:stream'
import { drained } from '../base/drain.ts'
import { encodeLine } from '../base/ndjson.ts'
import { FEED_PING_MS, type FeedEvent, type FeedLine } from '../model/wire.ts'
import { CompactedError, type KeyValue, type Store, type WatchEvent } from '../store/store.ts'

export interface FeedOptions {
  readonly prefixes: readonly string[]
  /** The revision that the follower has; 0 when it has nothing. */
  readonly after: number
  readonly pingMs?: number
}

/** A snapshot's lines are cut near this size, so that a follower reads as it receives. */
const SNAPSHOT_LINE_CHARS = 512 * 1024
/** A follower that takes nothing for so long is cut off; it comes back and resumes. */
export const FOLLOWER_STALL_MS_MAX = 10_000

/**
 * What a follower needs to have the state of `prefixes` and keep it: `synced` when the store still
 * has every change since `after`, else a snapshot; then changes, one line per revision, and pings.
 * Holds one batch at a time: the follower's pace is the watch's. Ends when the signal aborts.
 */
export async function* feed(
  store: Store,
  options: FeedOptions,
  signal: AbortSignal,
): AsyncGenerator<FeedLine, void, undefined> {
  let after = options.after
  while (!signal.aborted) {
    try {
      if (after === 0 || (await isAhead(store, options, after)))
        after = yield* snapshot(store, options.prefixes)
      yield { t: 'synced', revision: after }
      const batches = store.watch(options.prefixes, after, signal)
      for await (const batch of withPauses(batches, options.pingMs ?? FEED_PING_MS)) {
        if (batch) {
          after = batch.revision
          yield { t: 'events', revision: after, events: batch.events.map(watchEvent) }
        } else yield { t: 'ping', revision: after }
      }
      return
    } catch (error) {
      if (!(error instanceof CompactedError)) throw error
      after = 0
    }
  }
}

/** True for a revision that this store has not reached: it was restored from an older copy. */
async function isAhead(store: Store, { prefixes }: FeedOptions, after: number): Promise<boolean> {
  const { revision } = await store.range(prefixes[0] ?? '', { limit: 1 })
  return after > revision
}

/** Everything under the prefixes as at one revision, which it returns. */
async function* snapshot(
  store: Store,
  prefixes: readonly string[],
): AsyncGenerator<FeedLine, number, undefined> {
  yield { t: 'snapshot' }
  let revision: number | undefined
  for (const prefix of prefixes) {
    let last: string | undefined
    for (let more = true; more; ) {
      const page = await store.range(prefix, {
        ...(revision === undefined ? {} : { revision }),
        ...(last === undefined ? {} : { after: last }),
      })
      revision = page.revision
      more = page.more
      last = page.kvs.at(-1)?.key
      for (const kvs of chunks(page.kvs)) yield { t: 'events', revision, events: kvs.map(putEvent) }
    }
  }
  return revision ?? 0
}

function* chunks(kvs: readonly KeyValue[]): Generator<readonly KeyValue[]> {
  let chunk: KeyValue[] = []
  let chars = 0
  for (const kv of kvs) {
    chunk.push(kv)
    chars += kv.key.length + kv.value.length
    if (chars < SNAPSHOT_LINE_CHARS) continue
    yield chunk
    chunk = []
    chars = 0
  }
  if (chunk.length > 0) yield chunk
}

const watchEvent = (event: WatchEvent): FeedEvent =>
  event.type === 'put' ? putEvent(event.kv) : ['delete', event.key]

const putEvent = (kv: KeyValue): FeedEvent => ['put', kv.key, parse(kv.value), kv.modRevision]

/** A value that is no JSON goes out as its text: the follower's schema names it as a problem. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The items of `source`, and undefined whenever there was none for `pauseMs`. */
async function* withPauses<T>(
  source: AsyncIterable<T>,
  pauseMs: number,
): AsyncGenerator<T | undefined, void, undefined> {
  const iterator = source[Symbol.asyncIterator]()
  type Step = { readonly result: IteratorResult<T> } | { readonly error: unknown }
  let step: Step | undefined
  let wake = () => {}
  // One wait may span many pauses, so it calls whoever waits now rather than being raced each time.
  const settle = (next: Step) => {
    step = next
    wake()
  }
  const ask = () => {
    step = undefined
    iterator.next().then(
      (result) => settle({ result }),
      (error: unknown) => settle({ error }),
    )
  }
  try {
    ask()
    for (;;) {
      if (!step) await pause(pauseMs, (resolve) => (wake = resolve))
      const done = step as Step | undefined
      if (!done) yield undefined
      else if ('error' in done) throw done.error
      else if (done.result.done) return
      else {
        yield done.result.value
        ask()
      }
    }
  } finally {
    // Not awaited: a source that is in the middle of a wait would answer only after it.
    iterator.return?.().catch(() => {})
  }
}

async function pause(ms: number, onWake: (resolve: () => void) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await new Promise<void>((resolve) => {
    onWake(resolve)
    timer = setTimeout(resolve, ms)
  })
  clearTimeout(timer)
}

export interface WriteFeedOptions extends FeedOptions {
  readonly stallMsMax?: number
}

/**
 * Writes a follower's feed, and `calls` between its lines, until the signal aborts or the writable
 * closes. Buffers no more than the stream's high-water mark and a line; a follower that takes
 * nothing for FOLLOWER_STALL_MS_MAX is cut off (the writable is destroyed). Resolves when it ended;
 * rejects when the store failed. Does not end the writable otherwise.
 */
export async function writeFeed(
  store: Store,
  options: WriteFeedOptions,
  writable: Writable,
  signal: AbortSignal,
  calls?: AsyncIterable<FeedLine>,
): Promise<void> {
  const closed = new AbortController()
  const close = () => closed.abort()
  writable.once('close', close).once('error', close)
  const until = AbortSignal.any([signal, closed.signal])
  const stallMsMax = options.stallMsMax ?? FOLLOWER_STALL_MS_MAX
  try {
    await Promise.all([
      pumpLines(feed(store, options, until), writable, until, stallMsMax).finally(close),
      calls && pumpCalls(calls, writable, until, stallMsMax),
    ])
  } finally {
    close()
    writable.off('close', close).off('error', close)
  }
}

async function pumpLines(
  lines: AsyncIterable<FeedLine>,
  writable: Writable,
  signal: AbortSignal,
  stallMsMax: number,
): Promise<void> {
  for await (const line of lines) {
    if (signal.aborted) return
    if (!writable.write(encodeLine(line)) && !(await drained(writable, signal, stallMsMax)))
      writable.destroy()
  }
}

/** Calls end with the feed even when their source has nothing to say at that time. */
async function pumpCalls(
  calls: AsyncIterable<FeedLine>,
  writable: Writable,
  signal: AbortSignal,
  stallMsMax: number,
): Promise<void> {
  const iterator = calls[Symbol.asyncIterator]()
  const ended = new Promise<IteratorResult<FeedLine>>((resolve) => {
    const end = () => resolve({ done: true, value: undefined })
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
  try {
    for (;;) {
      const result = await Promise.race([iterator.next(), ended])
      if (result.done || signal.aborted) return
      const line = encodeLine(result.value)
      if (!writable.write(line)) await drained(writable, signal, stallMsMax)
    }
  } finally {
    iterator.return?.().catch(() => {})
  }
}
