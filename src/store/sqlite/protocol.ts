import { FairwayError } from '../../base/errors.ts'
import {
  CompactedError,
  type KeyValue,
  type RangeOptions,
  type RangeResult,
  StoreLimitError,
  type Txn,
  type TxnResult,
  type WatchBatch,
} from '../store.ts'
import type { Changes } from './engine.ts'

/** What each call carries to the engine and brings back. Arguments have been checked already. */
export interface Calls {
  get: { args: { key: string }; result: KeyValue | undefined }
  range: { args: { prefix: string; limit: number; options: RangeOptions }; result: RangeResult }
  txn: { args: { txn: Txn }; result: TxnResult }
  /** Also switches the feed of commits on. */
  changes: { args: { prefixes: readonly string[]; after: number }; result: Changes }
  feedOff: { args: object; result: undefined }
  grant: { args: { ttlMs: number }; result: string }
  renew: { args: { lease: string }; result: boolean }
  revoke: { args: { lease: string }; result: undefined }
  /** Lets the leases end that are due. */
  tick: { args: object; result: undefined }
}
export type CallName = keyof Calls

/** `now` is the caller's clock when it called, in ms: the engine has no time of its own. */
export type Request = {
  [name in CallName]: { id: number; now: number; call: name } & Calls[name]['args']
}[CallName]

export type Reply =
  | { readonly id: number; readonly result: Calls[CallName]['result'] }
  | { readonly id: number; readonly error: WireError }

export interface FromEngine {
  /** In the order of the requests. Readers must see these before `batches`. */
  readonly replies: readonly Reply[]
  /** What this group committed, when the feed is on. */
  readonly batches: readonly WatchBatch[]
  /** When the next lease ends, by the caller's clock; infinity when there is none. */
  readonly nextLeaseEnd: number
  /** The store cannot go on: every later call fails with this. */
  readonly fatal?: WireError
}

export interface EngineOptions {
  readonly path: string
  readonly retainRevisions: number
  readonly lockWaitMs: number
  readonly now: number
}

/** The first message of the engine: whether the file could be opened. */
export type Opened = { readonly nextLeaseEnd: number } | { readonly error: WireError }

export type ToEngine = readonly Request[] | 'close'

/** Errors lose their class between threads, so they travel as data. */
export type WireError =
  | { readonly kind: 'limit'; readonly code: StoreLimitError['code']; readonly message: string }
  | { readonly kind: 'compacted'; readonly compactRevision: number }
  | {
      readonly kind: 'failed'
      readonly code: string
      readonly message: string
      readonly status: number
    }

export function toWire(error: StoreLimitError | CompactedError | FairwayError): WireError {
  if (error instanceof StoreLimitError)
    return { kind: 'limit', code: error.code, message: error.message }
  if (error instanceof CompactedError)
    return { kind: 'compacted', compactRevision: error.compactRevision }
  return { kind: 'failed', code: error.code, message: error.message, status: error.status }
}

export function fromWire(error: WireError): Error {
  switch (error.kind) {
    case 'limit':
      return new StoreLimitError(error.code, error.message)
    case 'compacted':
      return new CompactedError(error.compactRevision)
    case 'failed':
      return new FairwayError(error.code, error.message, { status: error.status })
  }
}
