import type { Lease, RefusalReason } from '../balance/balancer.ts'
import type { Explaining } from '../explain/live.ts'
import { ATTEMPTS_RECORDED_MAX } from '../limits.ts'
import type { UpstreamFailure } from '../upstream/exchange.ts'
import type { TraceContext } from './trace-context.ts'

/** Times are milliseconds of the worker's monotonic clock; `null`: it did not come so far. */
export interface AttemptRecord {
  readonly machine: string
  readonly host: string
  readonly region: string
  /** Through the edge of its host. */
  readonly isRemote: boolean
  readonly sentAt: number
  /** The connection was open, or the other edge has taken the request. */
  acceptedAt: number | null
  /** Its response began, or it failed. */
  endedAt: number | null
  status: number
  failure: UpstreamFailure | null
}

export interface WaitRecord {
  readonly reason: RefusalReason
  readonly from: number
  until: number | null
}

/** What is known of a request before it is sent. */
export interface RecordedRequest {
  readonly requestId: string
  readonly app: string
  readonly method: string
  readonly target: string
  readonly host: string
  readonly httpMinor: number
  readonly clientAddress: string
  readonly localPort: number
  readonly https: boolean
  /** Milliseconds since the epoch. */
  readonly time: number
  readonly beganAt: number
  /** What came with the request; null when nothing valid did. */
  readonly trace: TraceContext | null
}

/** Samples that a request may be in. */
export const WANTED = { hostLog: 1, appLog: 2, trace: 4 } as const

/** The span that the edge makes of a request. */
export interface SpanWish {
  readonly traceId: string
  readonly spanId: string
  /** '' at the root. */
  readonly parentId: string
}

/**
 * All that one request went through. There is one only for requests that somebody wants to read about:
 * the access log, a trace, or an operator who asked for an explanation.
 */
export class RequestRecord {
  readonly request: RecordedRequest
  /** The first ones and the last one. */
  readonly attempts: AttemptRecord[] = []
  attemptCount = 0
  readonly waits: WaitRecord[] = []
  /** By whom: bits of `WANTED`. */
  readonly wanted: number
  span: SpanWish | null = null
  explaining: Explaining | null = null
  /** Of the response; 0 while there is none. */
  status = 0
  /** L14, of an answer of the edge's own. */
  code = ''
  headAt: number | null = null

  constructor(request: RecordedRequest, wanted: number) {
    this.request = request
    this.wanted = wanted
  }

  /** The attempt that is under way, or was the last. */
  get last(): AttemptRecord | undefined {
    return this.attempts.at(-1)
  }

  sent({ candidate: { endpoint }, via }: Lease, now: number): void {
    const wait = this.waits.at(-1)
    if (wait) wait.until ??= now
    this.attemptCount++
    if (this.attempts.length >= ATTEMPTS_RECORDED_MAX) this.attempts.pop()
    this.attempts.push({
      ...{ machine: endpoint.machine, host: endpoint.host, region: endpoint.region },
      ...{ isRemote: via !== null, sentAt: now },
      ...{ acceptedAt: null, endedAt: null, status: 0, failure: null },
    })
  }

  accepted(now: number): void {
    const { last } = this
    if (last) last.acceptedAt ??= now
  }

  failed(failure: UpstreamFailure, now: number): void {
    const { last } = this
    if (!last) return
    last.endedAt = now
    last.failure = failure
  }

  waiting(reason: RefusalReason, now: number): void {
    if (this.waits.length >= ATTEMPTS_RECORDED_MAX) this.waits.pop()
    this.waits.push({ reason, from: now, until: null })
  }

  answered(status: number, now: number): void {
    const { last } = this
    if (!last) return
    last.endedAt = now
    last.status = status
  }
}
