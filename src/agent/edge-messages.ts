import type { FeedLine } from '../model/wire.ts'
import type { CounterSnapshot } from '../proxy/counters.ts'
import type { AppLogLine } from '../proxy/errors/app-log.ts'

/** What the edge's main thread and its workers say to each other. */
export type ToWorker =
  /** A line of the feed. */
  | { readonly t: 'line'; readonly line: FeedLine }
  /** Accept connections now: the view is there. */
  | { readonly t: 'listen' }
  | { readonly t: 'ping' }
  | { readonly t: 'metrics'; readonly id: number }
  /** Where services of these machines are counted; comes before the line that brings them. */
  | {
      readonly t: 'load-slots'
      readonly slots: readonly (readonly [machine: string, slots: readonly number[]])[]
    }
  /** These machines are gone; answered by `forgotten`. */
  | { readonly t: 'forget'; readonly machines: readonly string[]; readonly turn: number }
  /** Another worker has a free slot of this app. */
  | { readonly t: 'wake'; readonly app: string }
  | { readonly t: 'drain' }

export type FromWorker =
  | { readonly t: 'applied'; readonly revision: number }
  | { readonly t: 'listening' }
  | { readonly t: 'pong' }
  | { readonly t: 'metrics'; readonly id: number; readonly snapshot: CounterSnapshot }
  | { readonly t: 'log'; readonly line: AppLogLine }
  /** Some service's bucket of load may have changed. */
  | { readonly t: 'load-changed' }
  | { readonly t: 'forgotten'; readonly turn: number }
  /** A slot of this app is free, and requests wait in other workers. */
  | { readonly t: 'released'; readonly app: string }
  | { readonly t: 'drained' }

export interface WorkerData {
  readonly host: string
  readonly region: string
  readonly appsDomains: readonly string[]
  readonly meshAddress: string
  readonly backhaulPort: number
  readonly drainMs: number
  readonly listenFd: number
  /** Counts of the host's machines, shared by all workers, and the number of this one. */
  readonly loads: SharedArrayBuffer
  /** Of `rate_limit`, the same for all. */
  readonly rates: SharedArrayBuffer
  readonly worker: number
}
