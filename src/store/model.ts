import { compareKeys } from './limits.ts'
import type { Compare, KeyValue, Op, Txn, TxnResult, WatchBatch, WatchEvent } from './store.ts'

/**
 * What a store must do, written so plainly that it can be believed: every state is kept, nothing
 * is compacted. Engines are compared with it.
 */
export class StoreModel {
  /** Index is the revision. */
  readonly #states: ReadonlyMap<string, KeyValue>[] = [new Map()]
  readonly #batches: WatchBatch[] = []
  readonly #leases = new Map<string, { ttlMs: number; endsAt: number }>()

  get revision(): number {
    return this.#states.length - 1
  }

  get leases(): readonly string[] {
    return [...this.#leases.keys()]
  }

  range(prefix: string, revision = this.revision, after?: string): readonly KeyValue[] {
    return [...this.#states[revision]!.values()]
      .filter((kv) => kv.key.startsWith(prefix))
      .filter((kv) => after === undefined || compareKeys(kv.key, after) > 0)
      .sort((a, b) => compareKeys(a.key, b.key))
  }

  /** `undefined`: refused, because a lease does not exist. */
  txn(txn: Txn): TxnResult | undefined {
    const succeeded = (txn.when ?? []).every((compare) => this.#holds(compare))
    const ops = succeeded ? txn.then : (txn.otherwise ?? [])
    for (const op of ops)
      if ('put' in op && op.lease !== undefined && !this.#leases.has(op.lease)) return undefined
    this.#apply(ops)
    return { succeeded, revision: this.revision }
  }

  #holds(compare: Compare): boolean {
    const kv = this.#states.at(-1)!.get(compare.key)
    return 'value' in compare
      ? kv?.value === compare.value
      : (kv?.modRevision ?? 0) === compare.modRevision
  }

  #apply(ops: readonly Op[]): void {
    const state = new Map(this.#states.at(-1)!)
    const revision = this.revision + 1
    const events: WatchEvent[] = []
    for (const op of ops) {
      if ('put' in op) {
        const before = state.get(op.put)
        const kv: KeyValue = {
          key: op.put,
          value: op.value,
          createRevision: before?.createRevision ?? revision,
          modRevision: revision,
          version: (before?.version ?? 0) + 1,
          ...(op.lease === undefined ? {} : { lease: op.lease }),
        }
        state.set(op.put, kv)
        events.push({ type: 'put', kv })
      } else if (state.delete(op.delete)) events.push({ type: 'delete', key: op.delete })
    }
    if (events.length === 0) return
    this.#states.push(state)
    this.#batches.push({ revision, events })
  }

  /** The batches that a watch after `after` shows, as far as they have happened. */
  changes(prefixes: readonly string[], after: number): readonly WatchBatch[] {
    const wanted = (key: string) => prefixes.some((prefix) => key.startsWith(prefix))
    return this.#batches
      .filter(({ revision }) => revision > after)
      .map(({ revision, events }) => ({
        revision,
        events: events.filter((event) => wanted(event.type === 'put' ? event.kv.key : event.key)),
      }))
      .filter(({ events }) => events.length > 0)
  }

  granted(lease: string, ttlMs: number, now: number): void {
    this.#leases.set(lease, { ttlMs, endsAt: now + ttlMs })
  }

  renew(lease: string, now: number): boolean {
    const found = this.#leases.get(lease)
    if (!found) return false
    found.endsAt = now + found.ttlMs
    return true
  }

  revoke(lease: string): void {
    if (!this.#leases.delete(lease)) return
    const keys = this.range('').filter((kv) => kv.lease === lease)
    this.#apply(keys.map(({ key }) => ({ delete: key })))
  }

  expire(now: number): void {
    const due = [...this.#leases].filter(([, { endsAt }]) => endsAt <= now)
    due.sort(([a, x], [b, y]) => x.endsAt - y.endsAt || compareKeys(a, b))
    for (const [lease] of due) this.revoke(lease)
  }

  /** After a restart: every lease has its whole TTL again. */
  restart(now: number): void {
    for (const lease of this.#leases.keys()) this.renew(lease, now)
  }
}
