import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Clock, systemClock } from '../../base/clock.ts'
import {
  checkKey,
  checkPrefixes,
  checkRange,
  checkRevision,
  checkTtl,
  checkTxn,
  futureRevision,
  noSuchLease,
} from '../limits.ts'
import { StoreModel } from '../model.ts'
import {
  CompactedError,
  type KeyValue,
  type Leases,
  RANGE_BYTES_MAX,
  type RangeOptions,
  type RangeResult,
  type Store,
  type Txn,
  type TxnResult,
  type WatchBatch,
} from '../store.ts'

export interface MemoryStoreOptions {
  readonly clock?: Clock
  readonly retainRevisions?: number
}

/**
 * The fake for tests: passes the conformance suite, keeps every state there ever was, and writes
 * nothing. Each call gives way to others first, so that callers interleave as with a real engine.
 * Leases end when the next call (or watch) comes after their time.
 */
export class MemoryStore implements Store {
  readonly #model = new StoreModel()
  readonly #clock: Clock
  readonly #retain: number
  #changed = Promise.withResolvers<void>()

  constructor({ clock = systemClock, retainRevisions = Infinity }: MemoryStoreOptions = {}) {
    this.#clock = clock
    this.#retain = retainRevisions
  }

  /** Runs `act` in a turn of its own, after the leases that are due have ended. */
  async #turn<Result>(act: (model: StoreModel) => Result): Promise<Result> {
    await nextTurn()
    const before = this.#model.revision
    this.#model.expire(this.#clock.now())
    const result = act(this.#model)
    if (this.#model.revision > before) {
      this.#changed.resolve()
      this.#changed = Promise.withResolvers()
    }
    return result
  }

  get #compactRevision(): number {
    return Math.max(0, this.#model.revision - this.#retain)
  }

  readonly leases: Leases = {
    grant: async (ttlMs) => {
      checkTtl(ttlMs)
      const lease = randomBytes(8).toString('hex')
      await this.#turn((model) => model.granted(lease, ttlMs, this.#clock.now()))
      return lease
    },
    renew: (lease) => this.#turn((model) => model.renew(lease, this.#clock.now())),
    revoke: (lease) => this.#turn((model) => model.revoke(lease)),
  }

  async get(key: string): Promise<KeyValue | undefined> {
    checkKey(key)
    return this.#turn((model) => model.range(key).find((kv) => kv.key === key))
  }

  async range(prefix: string, options: RangeOptions = {}): Promise<RangeResult> {
    const limit = checkRange(prefix, options)
    return this.#turn((model) => {
      const { revision = model.revision, after } = options
      if (revision > model.revision) throw futureRevision(revision, model.revision)
      if (revision < this.#compactRevision) throw new CompactedError(this.#compactRevision)
      const all = model.range(prefix, revision, after)
      const kvs = all.slice(0, pageLength(all, limit))
      return { kvs, revision, more: kvs.length < all.length }
    })
  }

  async txn(txn: Txn): Promise<TxnResult> {
    checkTxn(txn)
    return this.#turn((model) => {
      const result = model.txn(txn)
      if (result) return result
      const ops = [...txn.then, ...(txn.otherwise ?? [])]
      const gone = ops.find((op) => 'lease' in op && op.lease && !model.leases.includes(op.lease))
      throw noSuchLease((gone as { lease: string }).lease)
    })
  }

  async *watch(
    prefixes: readonly string[],
    after: number,
    signal: AbortSignal,
  ): AsyncGenerator<WatchBatch, void, void> {
    checkPrefixes(prefixes)
    checkRevision('after', after)
    const aborted = Promise.withResolvers<void>()
    const onAbort = () => aborted.resolve()
    signal.addEventListener('abort', onAbort)
    try {
      for (let position = after; !signal.aborted; ) {
        const { batches, revision, changed } = await this.#turn(() =>
          this.#changes(prefixes, position),
        )
        for (const batch of batches) {
          if (signal.aborted) return
          yield batch
        }
        position = revision
        await Promise.race([changed, aborted.promise])
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  #changes(prefixes: readonly string[], after: number) {
    const { revision } = this.#model
    if (after < this.#compactRevision || after > revision)
      throw new CompactedError(this.#compactRevision)
    const batches = this.#model.changes(prefixes, after)
    return { batches, revision, changed: this.#changed.promise }
  }

  /** As after a restart: leases have their whole TTL again. */
  restart(): void {
    this.#model.restart(this.#clock.now())
  }

  /** Every key and its value, for assertions. */
  dump(): Map<string, string> {
    return new Map(this.#model.range('').map(({ key, value }) => [key, value]))
  }
}

function pageLength(kvs: readonly KeyValue[], limit: number): number {
  let bytes = 0
  for (let length = 0; ; length++) {
    const kv = kvs[length]
    if (!kv || length === limit || bytes >= RANGE_BYTES_MAX) return length
    bytes += kv.value.length
  }
}
