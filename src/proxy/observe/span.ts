import { pathOf, type RequestEnd } from './access-line.ts'
import type { RequestRecord } from './record.ts'

export type SpanAttribute = readonly [key: string, value: string | number]

/** A finished span as plain data, on its way to the exporter. Times in milliseconds since the epoch. */
export interface SpanData {
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string
  readonly name: string
  readonly fromMs: number
  readonly toMs: number
  readonly isError: boolean
  readonly attributes: readonly SpanAttribute[]
  readonly events: readonly {
    readonly atMs: number
    readonly name: string
    readonly attributes: readonly SpanAttribute[]
  }[]
}

/** Methods that the semantic conventions for HTTP name; others would make names without bound. */
const METHODS = new Set('GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH'.split(' '))

/** The server span of a request, by OpenTelemetry's semantic conventions for HTTP. */
export function spanOf(
  record: RequestRecord,
  end: RequestEnd,
  edge: { readonly host: string; readonly region: string },
): SpanData {
  const { request, span, last } = record
  const method = METHODS.has(request.method) ? request.method : '_OTHER'
  const at = (now: number) => request.time + (now - request.beganAt)
  const attributes: SpanAttribute[] = [
    ['http.request.method', method],
    ['url.scheme', request.https ? 'https' : 'http'],
    ['url.path', pathOf(request.target)],
    ...serverOf(request.host, request.localPort),
    ['client.address', request.clientAddress],
    ['network.protocol.version', `1.${request.httpMinor}`],
    ['fairway.app', request.app],
    ['fairway.request_id', request.requestId],
    ['fairway.edge.host', edge.host],
    ['fairway.edge.region', edge.region],
    ['fairway.attempts', record.attemptCount],
  ]
  if (record.status > 0) attributes.push(['http.response.status_code', record.status])
  if (record.code !== '') attributes.push(['error.type', record.code])
  else if (record.status >= 500) attributes.push(['error.type', String(record.status)])
  if (last) attributes.push(['fairway.machine', last.machine], ['fairway.region', last.region])
  return {
    ...{ traceId: span!.traceId, spanId: span!.spanId, parentId: span!.parentId },
    ...{ name: method === '_OTHER' ? 'HTTP' : method, attributes },
    ...{ fromMs: request.time, toMs: at(end.now) },
    isError: record.status >= 500 || !end.isComplete,
    events: record.attempts.flatMap(({ failure, machine, endedAt }) =>
      failure
        ? [
            {
              atMs: at(endedAt ?? end.now),
              name: 'attempt failed',
              attributes: [
                ['fairway.machine', machine],
                ['error.type', failure.code],
                ['fairway.reason', failure.reason],
              ] as const,
            },
          ]
        : [],
    ),
  }
}

/** A Host header in its two parts; without a port it is the one that was connected to. */
function serverOf(host: string, localPort: number): SpanAttribute[] {
  const port = /:(\d+)$/.exec(host)
  const address = port ? host.slice(0, port.index) : host
  return [
    ['server.address', address],
    ['server.port', port ? Number(port[1]) : localPort],
  ]
}
