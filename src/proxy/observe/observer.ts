import type { Counters } from '../counters.ts'
import type { OnAppLog } from '../errors/app-log.ts'
import type { HttpPolicy } from '../http1/policy.ts'
import { ACCESS_LINES_PER_APP_MAX, ACCESS_LOG_APPS_MAX, SPANS_PER_SECOND_MAX } from '../limits.ts'
import { accessLine, type RequestEnd } from './access-line.ts'
import type { Outlet } from './outlet.ts'
import { type RecordedRequest, RequestRecord, WANTED } from './record.ts'
import { spanOf } from './span.ts'
import { isSampled, parseTraceparent, TraceIds } from './trace-context.ts'

/** What an operator has chosen for an edge; null: nothing. */
export interface ObserveChoices {
  /** Share of requests (0 to 1) in the host's access log; `query`: with query strings. */
  readonly accessLog: { readonly sampleRate: number; readonly query: boolean } | null
  /** Share of the requests that begin a trace; those of a sampled trace go on in it. */
  readonly traces: { readonly sampleRate: number } | null
}

export const NOTHING_OBSERVED: ObserveChoices = { accessLog: null, traces: null }

export interface ObserverOptions extends ObserveChoices {
  readonly host: string
  readonly region: string
  readonly outlet: Outlet
  readonly counters: Counters
  readonly onAppLog: OnAppLog
  readonly random: () => number
  /** Milliseconds, any epoch. */
  readonly now: () => number
}

/** A number of events in each second, of which there are at most so many. */
class PerSecond {
  readonly #max: number
  #until = -Infinity
  #count = 0

  constructor(max: number) {
    this.#max = max
  }

  admits(now: number): boolean {
    if (now >= this.#until) {
      this.#until = now + 1_000
      this.#count = 0
    }
    return ++this.#count <= this.#max
  }
}

/** Decides which requests are worth a record, and what becomes of it. */
export class Observer {
  readonly #options: ObserverOptions
  readonly #ids = new TraceIds()
  readonly #logRate: number
  readonly #traceRate: number
  readonly #spans = new PerSecond(SPANS_PER_SECOND_MAX)
  readonly #ofApps = new Map<string, PerSecond>()

  constructor(options: ObserverOptions) {
    this.#options = options
    this.#logRate = options.accessLog?.sampleRate ?? 0
    this.#traceRate = options.traces ? options.traces.sampleRate : -1
  }

  /** In which samples the next request is, as bits of `WANTED`; 0: in none. */
  sample({ accessLog }: HttpPolicy, traceparent: string): number {
    let wanted = 0
    if (this.#logRate > 0 && this.#options.random() < this.#logRate) wanted |= WANTED.hostLog
    if (accessLog !== null && this.#options.random() < accessLog.sampleRate) wanted |= WANTED.appLog
    if (this.#traceRate >= 0 && this.#isTraced(traceparent)) wanted |= WANTED.trace
    return wanted
  }

  record(request: RecordedRequest, wanted: number): RequestRecord {
    const record = new RequestRecord(request, wanted)
    if ((wanted & WANTED.trace) === 0) return record
    const { trace } = request
    record.span = {
      traceId: trace?.traceId ?? this.#ids.trace(),
      spanId: this.#ids.span(),
      parentId: trace?.parentId ?? '',
    }
    return record
  }

  /** The request is over. */
  finish(record: RequestRecord, policy: HttpPolicy, end: RequestEnd): void {
    const { outlet, accessLog } = this.#options
    if (record.span) outlet.span(spanOf(record, end, this.#options))
    if ((record.wanted & WANTED.hostLog) !== 0)
      outlet.line(accessLine(record, end, this.#options, accessLog?.query === true))
    if ((record.wanted & WANTED.appLog) !== 0)
      this.#toAppLog(record, policy.accessLog?.query === true, end)
  }

  #isTraced(traceparent: string): boolean {
    const { random, now, counters } = this.#options
    const trace = traceparent === '' ? null : parseTraceparent(traceparent)
    if (trace ? !isSampled(trace) : random() >= this.#traceRate) return false
    // Clients decide about their own traces, but not about how many spans there are.
    if (this.#spans.admits(now())) return true
    counters.limit('spans')
    return false
  }

  #toAppLog(record: RequestRecord, withQuery: boolean, end: RequestEnd): void {
    const { app } = record.request
    const { now, counters, onAppLog } = this.#options
    let lines = this.#ofApps.get(app)
    if (!lines) {
      if (this.#ofApps.size >= ACCESS_LOG_APPS_MAX) this.#ofApps.clear()
      lines = new PerSecond(ACCESS_LINES_PER_APP_MAX)
      this.#ofApps.set(app, lines)
    }
    if (!lines.admits(now())) {
      counters.limit('access_log_lines')
      return
    }
    const message = accessLine(record, end, this.#options, withQuery)
    onAppLog({ app, machine: record.last?.machine ?? '', level: 'info', code: '', message })
  }
}
