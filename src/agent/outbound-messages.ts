import type { CounterSnapshot } from '../outbound/counters.ts'
import type { ServedChange } from '../outbound/served.ts'

/** What the outbound process's main thread and its workers say to each other. */
export type ToOutboundWorker =
  | { readonly t: 'change'; readonly change: ServedChange }
  | { readonly t: 'listen' }
  | { readonly t: 'ping' }
  | { readonly t: 'metrics'; readonly id: number }
  | { readonly t: 'drain' }

export type FromOutboundWorker =
  | { readonly t: 'listening' }
  | { readonly t: 'pong' }
  | { readonly t: 'metrics'; readonly id: number; readonly snapshot: CounterSnapshot }
  /** Whole lines of the request log. */
  | { readonly t: 'lines'; readonly text: string }
  | { readonly t: 'drained' }

export interface OutboundWorkerData {
  readonly listenFd: number
  /** This worker's number, and of how many. */
  readonly worker: number
  readonly workers: number
  readonly meter: SharedArrayBuffer
  readonly resolvers: readonly string[]
  readonly neverPrefixes: readonly string[]
  readonly tls: { readonly cert: string; readonly key: string } | null
  readonly drainMs: number
}
