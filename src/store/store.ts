/**
 * The store's contract. Its model is etcd's (revisions, multi-key compare-and-set, watches that
 * resume exactly, leases), so that an embedded and a distributed engine pass the same suite.
 *
 * A revision counts committed transactions that changed something, from 1; 0 is the empty store.
 */
export interface Store {
  get(key: string): Promise<KeyValue | undefined>
  /**
   * Keys with `prefix` in byte order, as they were at `revision` (default: now).
   * At most `limit` (and `RANGE_LIMIT_MAX`); `more` says that there are others after the last.
   * A page may be shorter than `limit` when its values are large: trust `more`, not the count.
   * Throws `CompactedError` when `revision` is older than what the engine keeps.
   */
  range(prefix: string, options?: RangeOptions): Promise<RangeResult>
  /** All compares hold: `then` is applied, else `otherwise`; either way as one revision. */
  txn(txn: Txn): Promise<TxnResult>
  /**
   * Every change to keys with one of `prefixes`, after revision `after`, in order, one batch per
   * revision, without gaps or repeats, until the signal aborts (then it ends quietly).
   * Throws `CompactedError` when changes after `after` are gone: the caller ranges anew. So it does
   * when `after` is later than the store's revision, as after a restore from an older copy.
   */
  watch(prefixes: readonly string[], after: number, signal: AbortSignal): AsyncIterable<WatchBatch>
  readonly leases: Leases
}

export interface Leases {
  /** A lease that ends `ttlMs` after its last renewal and takes its keys with it. */
  grant(ttlMs: number): Promise<string>
  /** False when the lease has ended already. */
  renew(lease: string): Promise<boolean>
  revoke(lease: string): Promise<void>
}

export interface KeyValue {
  readonly key: string
  readonly value: string
  readonly createRevision: number
  readonly modRevision: number
  /** 1 when created, plus one for each change. */
  readonly version: number
  readonly lease?: string
}

export interface RangeOptions {
  readonly revision?: number
  readonly limit?: number
  /** Only keys after this one: the last key of the page before. */
  readonly after?: string
}

export interface RangeResult {
  readonly kvs: readonly KeyValue[]
  /** The revision that the answer shows; pass it on to read further pages of the same state. */
  readonly revision: number
  readonly more: boolean
}

export type Compare =
  /** `modRevision` of the key; 0 means that it does not exist. */
  | { readonly key: string; readonly modRevision: number }
  | { readonly key: string; readonly value: string }

export type Op =
  | { readonly put: string; readonly value: string; readonly lease?: string }
  | { readonly delete: string }

export interface Txn {
  readonly when?: readonly Compare[]
  readonly then: readonly Op[]
  readonly otherwise?: readonly Op[]
}

export interface TxnResult {
  readonly succeeded: boolean
  /** The store's revision after the transaction. */
  readonly revision: number
}

export type WatchEvent =
  | { readonly type: 'put'; readonly kv: KeyValue }
  | { readonly type: 'delete'; readonly key: string }

export interface WatchBatch {
  readonly revision: number
  readonly events: readonly WatchEvent[]
}

/** etcd's defaults, enforced by every engine. */
export const TXN_OPS_MAX = 128
export const VALUE_BYTES_MAX = 1024 * 1024
export const KEY_BYTES_MAX = 1024
export const RANGE_LIMIT_MAX = 1_000
/** All keys and values of one transaction, both branches. */
export const TXN_BYTES_MAX = 1536 * 1024
/** A page of `range` ends early, with `more`, once its values reach this. */
export const RANGE_BYTES_MAX = 4 * 1024 * 1024
export const WATCH_PREFIXES_MAX = 128
export const LEASE_TTL_MS_MAX = 365 * 24 * 3600 * 1000

export class CompactedError extends Error {
  readonly code = 'compacted'
  /** The oldest revision that can still be asked for. */
  readonly compactRevision: number
  constructor(compactRevision: number) {
    super(`the requested revision has been compacted; the oldest kept is ${compactRevision}`)
    this.name = 'CompactedError'
    this.compactRevision = compactRevision
  }
}

/** A request beyond the limits above, or malformed; nothing was changed. */
export class StoreLimitError extends Error {
  readonly code:
    | 'too_many_ops'
    | 'value_too_large'
    | 'key_too_large'
    | 'duplicate_key'
    | 'bad_lease'
    | 'txn_too_large'
    | 'future_revision'
    | 'malformed'
  constructor(code: StoreLimitError['code'], message: string) {
    super(message)
    this.name = 'StoreLimitError'
    this.code = code
  }
}
