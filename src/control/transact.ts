import { backoffMs, type Clock } from '../base/clock.ts'
import { conflict, FairwayError } from '../base/errors.ts'
import type { Compare, Op, RangeOptions, Store } from '../store/store.ts'
import { TXN_OPS_MAX } from '../store/store.ts'

/**
 * One change of the control plane: read, decide, and apply in one transaction that holds only while
 * everything that was read is unchanged; else read again and decide again.
 */

/** How often a change is tried before the caller hears about the contention. */
export const TRANSACT_ATTEMPTS_MAX = 16
/** How many callers may wait in one lane. */
export const LANE_WAITING_MAX = 10_000

/** Reads of one attempt. */
export interface Read {
  /** The value of a key. The plan is applied only if the key, absent or not, is unchanged by then. */
  get<T>(key: string): Promise<T | undefined>
  /** The value of a key on which the plan does not depend. */
  peek<T>(key: string): Promise<T | undefined>
  /** A page of a prefix; the plan does not depend on it (use `get` for what it must hold on to). */
  range<T>(prefix: string, options?: RangeOptions): Promise<Page<T>>
  /** `modRevision` of a key that this attempt has read with `get`; 0 when it was absent. */
  revisionOf(key: string): number
}

export interface Entry<T> {
  readonly key: string
  readonly value: T
  readonly modRevision: number
}
export interface Page<T> {
  readonly entries: readonly Entry<T>[]
  readonly more: boolean
}

export interface Plan<R> {
  /** None: nothing is written, and the result stands as it is. */
  readonly ops: readonly Op[]
  /** Further conditions beside what `get` has read. */
  readonly when?: readonly Compare[]
  readonly result: R
}

export interface Done<R> {
  readonly result: R
  /** The store's revision after the change; 0 when nothing was written. */
  readonly revision: number
}

export interface TransactOptions {
  /**
   * Calls of one lane run one after the other in this process, so that they do not race each other
   * for the same key. Correctness never depends on it.
   */
  readonly lane?: string
}

interface Context {
  readonly store: Store
  readonly clock: Clock
  readonly random: () => number
}

export async function transact<R>(
  context: Context,
  attempt: (read: Read) => Promise<Plan<R>>,
  options: TransactOptions = {},
): Promise<Done<R>> {
  const work = () => attemptOften(context, attempt)
  return options.lane === undefined ? work() : inLane(context.store, options.lane, work)
}

/** Runs `work` when all that came before it in this lane of the store is over. Not re-entrant. */
export async function inLane<R>(store: Store, name: string, work: () => Promise<R>): Promise<R> {
  const ofStore = lanes.get(store) ?? new Map<string, Lane>()
  lanes.set(store, ofStore)
  const lane = ofStore.get(name) ?? { tail: Promise.resolve(), waiting: 0 }
  ofStore.set(name, lane)
  if (lane.waiting >= LANE_WAITING_MAX) {
    throw new FairwayError('busy', `${lane.waiting} changes of ${name} are waiting; try again`, {
      status: 503,
    })
  }
  lane.waiting += 1
  const mine = lane.tail.then(work, work)
  lane.tail = mine.catch(() => undefined)
  try {
    return await mine
  } finally {
    lane.waiting -= 1
    if (lane.waiting === 0) ofStore.delete(name)
  }
}

export const put = (key: string, value: unknown): Op => ({ put: key, value: JSON.stringify(value) })
export const del = (key: string): Op => ({ delete: key })

/** All entries of a prefix, page after page; throws beyond `max`. */
export async function readAll<T>(store: Store, prefix: string, max: number): Promise<Entry<T>[]> {
  const entries: Entry<T>[] = []
  let after: string | undefined
  for (;;) {
    const page = await readPage<T>(store, prefix, after === undefined ? {} : { after })
    entries.push(...page.entries)
    if (!page.more) return entries
    if (entries.length >= max) {
      throw new FairwayError('too_many', `more than ${max} entries under ${prefix}`, {
        status: 503,
      })
    }
    after = page.entries.at(-1)?.key
  }
}

/** The value of one key. */
export async function readOne<T>(store: Store, key: string): Promise<T | undefined> {
  const kv = await store.get(key)
  return kv && (JSON.parse(kv.value) as T)
}

export async function readPage<T>(
  store: Store,
  prefix: string,
  options: RangeOptions = {},
): Promise<Page<T>> {
  const { kvs, more } = await store.range(prefix, options)
  const entries = kvs.map(({ key, value, modRevision }) => ({
    key,
    value: JSON.parse(value) as T,
    modRevision,
  }))
  return { entries, more }
}

async function attemptOften<R>(
  { store, clock, random }: Context,
  attempt: (read: Read) => Promise<Plan<R>>,
): Promise<Done<R>> {
  for (let n = 0; n < TRANSACT_ATTEMPTS_MAX; n++) {
    if (n > 0) await clock.sleep(backoffMs(n - 1, random, { firstMs: 2, maxMs: 200 }))
    const reader = new Reader(store)
    const plan = await attempt(reader)
    if (plan.ops.length === 0) return { result: plan.result, revision: 0 }
    const when = [...reader.compares(), ...(plan.when ?? [])]
    if (plan.ops.length > TXN_OPS_MAX || when.length > TXN_OPS_MAX) {
      throw new FairwayError('too_large', 'the change is too large for one transaction', {
        status: 413,
      })
    }
    const done = await store.txn({ when, then: plan.ops })
    if (done.succeeded) return { result: plan.result, revision: done.revision }
  }
  throw conflict('others keep changing the same thing at the same time; try again')
}

class Reader implements Read {
  readonly #store: Store
  readonly #revisions = new Map<string, number>()
  constructor(store: Store) {
    this.#store = store
  }

  async get<T>(key: string): Promise<T | undefined> {
    const kv = await this.#store.get(key)
    // The first reading counts: a second one that differs makes the transaction fail, as it must.
    if (!this.#revisions.has(key)) this.#revisions.set(key, kv?.modRevision ?? 0)
    return kv && (JSON.parse(kv.value) as T)
  }

  peek<T>(key: string): Promise<T | undefined> {
    return readOne<T>(this.#store, key)
  }

  range<T>(prefix: string, options?: RangeOptions): Promise<Page<T>> {
    return readPage<T>(this.#store, prefix, options)
  }

  revisionOf(key: string): number {
    return this.#revisions.get(key) ?? 0
  }

  compares(): Compare[] {
    return [...this.#revisions].map(([key, modRevision]) => ({ key, modRevision }))
  }
}

interface Lane {
  tail: Promise<unknown>
  waiting: number
}
const lanes = new WeakMap<Store, Map<string, Lane>>()
