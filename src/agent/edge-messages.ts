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
  | { readonly t: 'drain' }

export type FromWorker =
  | { readonly t: 'applied'; readonly revision: number }
  | { readonly t: 'listening' }
  | { readonly t: 'pong' }
  | { readonly t: 'metrics'; readonly id: number; readonly snapshot: CounterSnapshot }
  | { readonly t: 'log'; readonly line: AppLogLine }
  | {
      readonly t: 'load'
      readonly machine: string
      readonly service: number
      readonly load: 0 | 1 | 2
    }
  | { readonly t: 'drained' }

export interface WorkerData {
  readonly host: string
  readonly region: string
  readonly appsDomains: readonly string[]
  readonly meshAddress: string
  readonly backhaulPort: number
  readonly drainMs: number
  readonly listenFd: number
}
