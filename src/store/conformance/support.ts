import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../../base/clock.ts'
import { type Store, StoreLimitError, type WatchBatch } from '../store.ts'

export interface StoreUnderTest {
  /** Another one after `reopen`. */
  readonly store: Store
  /** Whether calls that overlap happen in the order in which they were made. */
  readonly ordered: boolean
  /** Lets `ms` of the engine's time pass, and what was due happen. */
  advance(ms: number): Promise<void>
  /** Ends the engine and opens it again on the same data. */
  reopen(): Promise<void>
  /** Drops what is older than `retainRevisions`, where the engine does not do so by itself. */
  compact(): Promise<void>
  close(): Promise<void>
}

/** `retainRevisions`: what can be ranged and watched from, at least; by default everything. */
export type MakeStore = (options: MakeOptions) => Promise<StoreUnderTest>

export interface MakeOptions {
  readonly retainRevisions?: number
}

export type Cases = Readonly<
  Record<string, (make: MakeStore, print: (line: string) => void) => Promise<void>>
>

/** Runs a case with a store of its own. */
export const withStore =
  (run: (t: StoreUnderTest) => Promise<void>, options: MakeOptions = {}) =>
  async (make: MakeStore): Promise<void> => {
    const t = await make(options)
    try {
      await run(t)
    } finally {
      await t.close()
    }
  }

export const put = (store: Store, key: string, value = '') =>
  store.txn({ then: [{ put: key, value }] })

export const remove = (store: Store, key: string) => store.txn({ then: [{ delete: key }] })

export const keysOf = (kvs: readonly { key: string }[]) => kvs.map(({ key }) => key)

export const refuses = (promise: Promise<unknown>, code: StoreLimitError['code']) =>
  assert.rejects(promise, (error) => error instanceof StoreLimitError && error.code === code)

const WATCH_WAIT_MS = 10_000

/** A watch that hands out batches on demand; a batch that does not come is a failure. */
export class Watching {
  readonly #abort = new AbortController()
  readonly #iterator: AsyncIterator<WatchBatch>

  constructor(store: Store, prefixes: readonly string[], after: number) {
    this.#iterator = store.watch(prefixes, after, this.#abort.signal)[Symbol.asyncIterator]()
  }

  async take(count: number): Promise<WatchBatch[]> {
    const batches: WatchBatch[] = []
    while (batches.length < count) {
      const next = await this.next()
      if (next.done) break
      batches.push(next.value)
    }
    return batches
  }

  async next(): Promise<IteratorResult<WatchBatch>> {
    const timer = new AbortController()
    const late = delay(WATCH_WAIT_MS, undefined, { signal: timer.signal }).then(() =>
      assert.fail(`no batch within ${WATCH_WAIT_MS} ms`),
    )
    late.catch(() => undefined)
    try {
      return await Promise.race([this.#iterator.next(), late])
    } finally {
      timer.abort()
    }
  }

  /** Aborts; the watch must then end by itself. */
  async stop(): Promise<void> {
    this.#abort.abort()
    assert.equal((await this.next()).done, true)
  }
}

/** The next `count` batches of a watch that then ends. */
export async function watched(
  store: Store,
  prefixes: readonly string[],
  after: number,
  count: number,
): Promise<WatchBatch[]> {
  const watching = new Watching(store, prefixes, after)
  const batches = await watching.take(count)
  await watching.stop()
  return batches
}

/** A batch as text: `3: +a=1 -b`. */
export const shown = ({ revision, events }: WatchBatch): string =>
  `${revision}: ${events
    .map((event) => (event.type === 'put' ? `+${event.kv.key}=${event.kv.value}` : `-${event.key}`))
    .join(' ')}`

/** Time that stands still until it is told to move. */
export class ManualClock implements Clock {
  #now = 1_000
  readonly #sleepers = new Set<{ at: number; wake: () => void }>()

  now(): number {
    return this.#now
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const sleeper = { at: this.#now + ms, wake: resolve }
    this.#sleepers.add(sleeper)
    signal?.addEventListener('abort', () => {
      this.#sleepers.delete(sleeper)
      reject(signal.reason)
    })
    return promise
  }

  advance(ms: number): void {
    this.#now += ms
    for (const sleeper of this.#sleepers) {
      if (sleeper.at > this.#now) continue
      this.#sleepers.delete(sleeper)
      sleeper.wake()
    }
  }
}
