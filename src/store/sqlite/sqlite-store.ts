import { resolve } from 'node:path'
import { type Clock, systemClock } from '../../base/clock.ts'
import { FairwayError } from '../../base/errors.ts'
import {
  checkKey,
  checkPrefixes,
  checkRange,
  checkRevision,
  checkTtl,
  checkTxn,
} from '../limits.ts'
import type {
  KeyValue,
  Leases,
  RangeOptions,
  RangeResult,
  Store,
  Txn,
  TxnResult,
  WatchBatch,
} from '../store.ts'
import { Connection, type ConnectionOptions } from './connection.ts'
import { Watcher, WatchHub } from './watch-hub.ts'

/** How many revisions before the current one can be ranged and watched from. */
export const RETAIN_REVISIONS = 10_000
/** A predecessor that was just killed may hold the file for a moment. */
const LOCK_WAIT_MS = 3_000
/** The longest single sleep for a lease's end: timers overflow at 2^31 ms. */
const SLEEP_MS_MAX = 60_000

export interface SqliteStoreOptions {
  /** Default `RETAIN_REVISIONS`; at least 1. */
  readonly retainRevisions?: number
  /** Times leases. The default is monotonic: setting the machine's clock ends no lease. */
  readonly clock?: Clock
  /**
   * Whether the engine has a thread of its own, so that the disk never blocks the caller's. It does
   * by default, but for `:memory:`; without, opening takes a tenth of the time.
   */
  readonly ownThread?: boolean
  /** How long to wait for another process to let go of the file. */
  readonly lockWaitMs?: number
}

export interface SqliteStore extends Store {
  /** Answers what was asked before, ends watches with `store_closed`, releases the file. */
  close(): Promise<void>
}

const monotonicClock: Clock = { now: () => performance.now(), sleep: systemClock.sleep }

/**
 * Opens the store in the file at `path`, made when it does not exist (mode 0600; `:memory:` keeps
 * nothing). One process has it open at a time. Throws `FairwayError` with code `store_in_use`,
 * `store_corrupt`, `store_newer`, `store_foreign` or `store_failed`; later calls may reject with
 * `store_busy`, `store_full`, `store_timeout`, `store_closed` or `store_failed`.
 */
export async function openSqliteStore(
  path: string,
  options: SqliteStoreOptions = {},
): Promise<SqliteStore> {
  const { retainRevisions = RETAIN_REVISIONS, lockWaitMs = LOCK_WAIT_MS } = options
  if (!Number.isSafeInteger(retainRevisions) || retainRevisions < 1)
    throw new FairwayError('invalid', `retainRevisions is ${retainRevisions}; it must be 1 or more`)
  const store = new ThreadedStore(options.clock ?? monotonicClock)
  const inMemory = path === ':memory:'
  await store.open({
    path: inMemory ? path : resolve(path),
    ownThread: options.ownThread ?? !inMemory,
    retainRevisions,
    lockWaitMs,
  })
  return store
}

class ThreadedStore implements SqliteStore {
  readonly #clock: Clock
  readonly #hub = new WatchHub()
  #connection!: Connection
  /** The sleep until the next lease ends. */
  #alarm: { at: number; abort: AbortController } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async open(options: Omit<ConnectionOptions, 'now'>): Promise<void> {
    this.#connection = await Connection.open(
      { ...options, now: this.#clock.now() },
      {
        onCommits: (batches) => {
          for (const batch of batches) this.#hub.publish(batch)
        },
        onNextLeaseEnd: (at) => this.#setAlarm(at),
        onEnd: () => {
          this.#alarm?.abort.abort()
          this.#hub.wakeAll()
        },
      },
    )
  }

  readonly leases: Leases = {
    grant: async (ttlMs) => {
      checkTtl(ttlMs)
      return this.#connection.call('grant', { ttlMs }, this.#clock.now())
    },
    renew: (lease) => this.#connection.call('renew', { lease }, this.#clock.now()),
    revoke: (lease) => this.#connection.call('revoke', { lease }, this.#clock.now()),
  }

  async get(key: string): Promise<KeyValue | undefined> {
    checkKey(key)
    return this.#connection.call('get', { key }, this.#clock.now())
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<RangeResult> {
    const limit = checkRange(prefix, options)
    return this.#connection.call('range', { prefix, limit, options }, this.#clock.now())
  }

  async txn(txn: Txn): Promise<TxnResult> {
    const bytes = checkTxn(txn)
    return this.#connection.call('txn', { txn }, this.#clock.now(), { bytes })
  }

  async *watch(
    prefixes: readonly string[],
    after: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchBatch, void, void> {
    checkPrefixes(prefixes)
    checkRevision('after', after)
    if (signal.aborted) return
    const watcher = new Watcher([...prefixes], after)
    this.#hub.add(watcher)
    const onAbort = () => watcher.wake()
    signal.addEventListener('abort', onAbort)
    try {
      while (!signal.aborted) {
        for (const batch of await this.#next(watcher)) {
          if (signal.aborted) return
          yield batch
        }
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#forget(watcher)
    }
  }

  async #next(watcher: Watcher): Promise<readonly WatchBatch[]> {
    await watcher.ready()
    if (this.#connection.failure) throw this.#connection.failure
    const batches = watcher.take()
    if (batches.length > 0 || watcher.live) return batches
    const { prefixes, position: after } = watcher
    const onResult = ({ revision, head }: { revision: number; head: boolean }) =>
      watcher.caughtUp(revision, head)
    const args = { prefixes, after }
    const changes = await this.#connection.call('changes', args, this.#clock.now(), { onResult })
    return changes.batches
  }

  #forget(watcher: Watcher): void {
    this.#hub.remove(watcher)
    if (this.#hub.size > 0 || this.#connection.failure) return
    // A store that ends meanwhile needs no feed switched off either.
    this.#connection.call('feedOff', {}, this.#clock.now()).catch(() => undefined)
  }

  /** Sleeps until `at` at the latest, and then lets the engine end the leases that are due. */
  #setAlarm(at: number): void {
    if (this.#alarm && this.#alarm.at <= at) return
    this.#alarm?.abort.abort()
    this.#alarm = undefined
    if (at === Number.POSITIVE_INFINITY) return
    const abort = new AbortController()
    this.#alarm = { at, abort }
    const ms = Math.min(Math.max(0, at - this.#clock.now()), SLEEP_MS_MAX)
    this.#clock.sleep(Math.ceil(ms), abort.signal).then(
      () => this.#ring(abort),
      () => undefined,
    )
  }

  #ring(abort: AbortController): void {
    if (this.#alarm?.abort !== abort) return
    this.#alarm = undefined
    this.#connection.call('tick', {}, this.#clock.now()).catch(() => undefined)
  }

  async close(): Promise<void> {
    await this.#connection.close()
  }
}
