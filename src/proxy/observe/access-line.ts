import { isoTime } from '../../base/clock.ts'
import type { RequestRecord } from './record.ts'

export interface AccessEdge {
  readonly host: string
  readonly region: string
}

/** How a request ended, for the access log and its span. */
export interface RequestEnd {
  readonly now: number
  /** Octets from and to the client, heads included. */
  readonly received: number
  readonly sent: number
  /** The response went out whole. */
  readonly isComplete: boolean
}

/** One line of the access log (docs/observability.md), without its line feed. Header fields are not in it. */
export function accessLine(
  record: RequestRecord,
  end: RequestEnd,
  edge: AccessEdge,
  withQuery: boolean,
): string {
  const { request, last } = record
  return JSON.stringify({
    time: isoTime(request.time),
    request_id: request.requestId,
    ...{ app: request.app, machine: last?.machine ?? '', machine_region: last?.region ?? '' },
    ...{ region: edge.region, host: edge.host, client_ip: request.clientAddress },
    method: request.method,
    host_header: request.host,
    path: withQuery ? request.target : pathOf(request.target),
    protocol: `HTTP/1.${request.httpMinor}`,
    ...{ status: record.status, code: record.code, complete: end.isComplete },
    ...{ bytes_received: end.received, bytes_sent: end.sent },
    duration_ms: rounded(end.now - request.beganAt),
    first_byte_ms: record.headAt === null ? null : rounded(record.headAt - request.beganAt),
    upstream_connect_ms: connectMsOf(record),
    attempts: record.attemptCount,
    trace_id: record.span?.traceId ?? request.trace?.traceId ?? '',
  })
}

/** Until the machine's connection was open, or its host's edge had taken the request. */
function connectMsOf({ last }: RequestRecord): number | null {
  if (!last || last.acceptedAt === null) return null
  return rounded(last.acceptedAt - last.sentAt)
}

export const pathOf = (target: string): string => {
  const query = target.indexOf('?')
  return query < 0 ? target : target.slice(0, query)
}

/** Microseconds are as fine as the clock means anything. */
export const rounded = (ms: number): number => Math.round(ms * 1000) / 1000
