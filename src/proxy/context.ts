import type { Deadlines } from '../base/deadlines.ts'
import type { OnFault } from '../base/faults.ts'
import { ResponseHead } from '../base/http1/response-head.ts'
import { READ_BUFFER_BYTES, type StreamBuffer, StreamBuffers } from '../base/stream-buffers.ts'
import type { EdgeView } from '../view/edge-view.ts'
import type { Balancer } from './balance/balancer.ts'
import type { StickyTokens } from './balance/sticky-tokens.ts'
import type { WaitQueues } from './balance/wait-queues.ts'
import type { Counters } from './counters.ts'
import type { AppLog } from './errors/app-log.ts'
import type { ExplainGrants } from './explain/grants.ts'
import { RequestHead } from './http1/request-head.ts'
import { STREAM_BUFFER_BYTES, STREAM_BUFFERS_MAX } from './limits.ts'
import type { Observer } from './observe/observer.ts'
import type { AppMetrics } from './observe/series.ts'
import type { RateTable } from './rates/rate-table.ts'
import type { RetryBudgets } from './upstream/retry-budgets.ts'
import type { Upstreams } from './upstream/upstreams.ts'

/** What the connections of one worker share. */
export interface ProxyContext {
  readonly view: EdgeView
  readonly host: string
  readonly region: string
  /** Where the edges of other hosts listen, on their mesh addresses. */
  readonly backhaulPort: number
  /** Domains under which an app is found by its name on shared addresses. Lower case. */
  readonly appsDomains: readonly string[]
  readonly balancer: Balancer
  readonly waiting: WaitQueues
  readonly deadlines: Deadlines
  readonly counters: Counters
  readonly upstreams: Upstreams
  readonly retries: RetryBudgets
  readonly rates: RateTable
  readonly stickyTokens: StickyTokens
  readonly appLog: AppLog
  /** What is counted of each app. */
  readonly apps: AppMetrics
  readonly observer: Observer
  readonly explainGrants: ExplainGrants
  readonly scratch: Scratch
  /** All that clients and other edges have open. */
  readonly connections: Set<OpenConnection>
  readonly random: () => number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Milliseconds that never go back, as fine as they come. */
  readonly clock: () => number
  /** No request begins any more on connections that have none. */
  draining: boolean
}

export interface OpenConnection {
  /** Idle ones end now, others with what they are doing. */
  drain(): void
  destroy(): void
}

/**
 * Memory that is used within one callback and never beyond it: every connection of a worker reads
 * into the same buffer and scans heads with the same objects.
 */
export class Scratch {
  /** What upstreams read into, but for long bodies. */
  readonly buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  /** What the present read lies in. */
  data: Buffer = this.buffer
  /** The same when it may be written from as it is; null: only a copy of it may wait. */
  stream: StreamBuffer | null = null
  readonly streams: StreamBuffers
  readonly request = new RequestHead()
  readonly response = new ResponseHead()

  readonly onFault: OnFault

  constructor(counters: Counters, onFault: OnFault) {
    this.onFault = (error) => {
      counters.error('fault')
      onFault(error)
    }
    const onRefused = () => counters.limit('stream_buffers')
    this.streams = new StreamBuffers(STREAM_BUFFER_BYTES, STREAM_BUFFERS_MAX, onRefused)
  }
}
