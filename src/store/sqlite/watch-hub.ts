import { FairwayError } from '../../base/errors.ts'
import type { WatchBatch, WatchEvent } from '../store.ts'

export const WATCHES_MAX = 10_000
/** What a slow watcher may leave lying; beyond, it reads the history again when it comes back. */
export const WATCH_BUFFER_BATCHES_MAX = 1_000
export const WATCH_BUFFER_CHARS_MAX = 4 * 1024 * 1024

/** One watch: either live (commits are handed to it) or behind (it reads the history). */
export class Watcher {
  readonly prefixes: readonly string[]
  /** Everything up to here has been handed over. */
  position: number
  live = false
  #buffer: WatchBatch[] = []
  #chars = 0
  #wake: (() => void) | undefined

  constructor(prefixes: readonly string[], after: number) {
    this.prefixes = prefixes
    this.position = after
  }

  /** The history has been read up to `revision`; `head`: commits after it will be offered. */
  caughtUp(revision: number, head: boolean): void {
    this.position = revision
    this.live = head
  }

  offer(batch: WatchBatch): void {
    if (!this.live || batch.revision <= this.position) return
    this.#buffer.push(batch)
    for (const event of batch.events)
      this.#chars += event.type === 'put' ? event.kv.value.length + 64 : 64
    if (this.#buffer.length > WATCH_BUFFER_BATCHES_MAX || this.#chars > WATCH_BUFFER_CHARS_MAX)
      this.#fallBehind()
    this.wake()
  }

  #fallBehind(): void {
    // Not the last revision taken: a quiet prefix may have left that far behind, even compacted.
    this.position = this.#buffer[0]!.revision - 1
    this.live = false
    this.#buffer = []
    this.#chars = 0
  }

  take(): readonly WatchBatch[] {
    const batches = this.#buffer
    this.#buffer = []
    this.#chars = 0
    if (batches.length > 0) this.position = batches.at(-1)!.revision
    return batches
  }

  /** Resolves when there is something to take, or at `wake`. */
  ready(): Promise<void> {
    if (this.#buffer.length > 0 || !this.live) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    return promise
  }

  wake(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}

/** Hands each commit to the watchers of its keys: the others cost nothing. */
export class WatchHub {
  readonly #watchers = new Set<Watcher>()
  readonly #byPrefix = new Map<string, Set<Watcher>>()
  /** How many of the prefixes have each length: a key is looked up once per length. */
  readonly #lengths = new Map<number, number>()

  get size(): number {
    return this.#watchers.size
  }

  add(watcher: Watcher): void {
    if (this.#watchers.size >= WATCHES_MAX)
      throw new FairwayError('store_busy', `${WATCHES_MAX} watches are open already; end some`, {
        status: 503,
      })
    this.#watchers.add(watcher)
    for (const prefix of new Set(watcher.prefixes)) {
      const watchers = this.#byPrefix.get(prefix)
      if (watchers) watchers.add(watcher)
      else {
        this.#byPrefix.set(prefix, new Set([watcher]))
        this.#lengths.set(prefix.length, (this.#lengths.get(prefix.length) ?? 0) + 1)
      }
    }
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher)
    for (const prefix of new Set(watcher.prefixes)) {
      const watchers = this.#byPrefix.get(prefix)
      watchers?.delete(watcher)
      if (watchers?.size !== 0) continue
      this.#byPrefix.delete(prefix)
      const left = this.#lengths.get(prefix.length)! - 1
      if (left === 0) this.#lengths.delete(prefix.length)
      else this.#lengths.set(prefix.length, left)
    }
  }

  publish(batch: WatchBatch): void {
    const offers = new Map<Watcher, WatchEvent[]>()
    for (const event of batch.events)
      for (const watcher of this.#watchersOf(event.type === 'put' ? event.kv.key : event.key)) {
        const events = offers.get(watcher)
        if (!events) offers.set(watcher, [event])
        // A watcher of two prefixes, one inside the other, sees an event once.
        else if (events.at(-1) !== event) events.push(event)
      }
    for (const [watcher, events] of offers)
      watcher.offer(
        events.length === batch.events.length ? batch : { revision: batch.revision, events },
      )
  }

  *#watchersOf(key: string): Iterable<Watcher> {
    for (const length of this.#lengths.keys()) {
      if (length > key.length) continue
      const watchers = this.#byPrefix.get(key.slice(0, length))
      if (watchers) yield* watchers
    }
  }

  wakeAll(): void {
    for (const watcher of this.#watchers) watcher.wake()
  }
}
