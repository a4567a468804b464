import type { Explanation } from '../model/explanation.ts'
import type { FeedLine } from '../model/wire.ts'
import type { CounterSnapshot } from '../proxy/counters.ts'
import type { AppLogLine } from '../proxy/errors/app-log.ts'
import type { ExplainQuestion } from '../proxy/explain/explainer.ts'
import type { ObserveChoices } from '../proxy/observe/observer.ts'
import type { ObservedBatch } from '../proxy/observe/outlet.ts'
import type { RowsSnapshot } from '../proxy/observe/rows.ts'

/** What the edge's main thread and its workers say to each other. */
export type ToWorker =
  /** A line of the feed. */
  | { readonly t: 'line'; readonly line: FeedLine }
  /** Accept connections now: the view is there. */
  | { readonly t: 'listen' }
  | { readonly t: 'ping' }
  | { readonly t: 'metrics'; readonly id: number }
  | { readonly t: 'explain'; readonly id: number; readonly question: ExplainQuestion }
  /** Lines and spans of so many bytes are done with. */
  | { readonly t: 'observed'; readonly bytes: number }
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
  | { readonly t: 'metrics'; readonly id: number; readonly answer: WorkerMetrics }
  | { readonly t: 'explained'; readonly id: number; readonly answer: Explanation }
  | { readonly t: 'observed'; readonly batch: ObservedBatch }
  | { readonly t: 'log'; readonly line: AppLogLine }
  /** Some service's bucket of load may have changed. */
  | { readonly t: 'load-changed' }
  | { readonly t: 'forgotten'; readonly turn: number }
  /** A slot of this app is free, and requests wait in other workers. */
  | { readonly t: 'released'; readonly app: string }
  | { readonly t: 'drained' }

export interface WorkerMetrics {
  readonly counters: CounterSnapshot
  readonly series: RowsSnapshot
}

export interface WorkerData {
  readonly host: string
  readonly region: string
  readonly appsDomains: readonly string[]
  readonly meshAddress: string
  readonly backhaulPort: number
  readonly drainMs: number
  readonly observe: ObserveChoices
  readonly listenFd: number
  /** Counts of the host's machines, shared by all workers, and the number of this one. */
  readonly loads: SharedArrayBuffer
  /** Of `rate_limit`, the same for all. */
  readonly rates: SharedArrayBuffer
  readonly worker: number
}
