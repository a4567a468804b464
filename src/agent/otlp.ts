import type { SpanAttribute, SpanData } from '../proxy/observe/span.ts'

/**
 * Spans as the JSON of OTLP's `ExportTraceServiceRequest` (opentelemetry-proto, JSON Protobuf encoding:
 * ids in hexadecimal, 64-bit numbers as decimal text, enums as numbers).
 */

const SERVER = 2
const STATUS_ERROR = 2
/** The span's trace is sampled (W3C flags). */
const FLAGS = 1

export interface OtlpResource {
  readonly host: string
  readonly region: string
}

export function otlpRequest(spans: readonly SpanData[], resource: OtlpResource): object {
  return {
    resourceSpans: [
      {
        resource: {
          attributes: attributes([
            ['service.name', 'fairway-edge'],
            ['service.instance.id', resource.host],
            ['host.name', resource.host],
            ['cloud.region', resource.region],
          ]),
        },
        scopeSpans: [{ scope: { name: 'fairway' }, spans: spans.map(otlpSpan) }],
      },
    ],
  }
}

function otlpSpan(span: SpanData): object {
  return {
    ...{ traceId: span.traceId, spanId: span.spanId },
    ...(span.parentId === '' ? {} : { parentSpanId: span.parentId }),
    ...{ flags: FLAGS, name: span.name, kind: SERVER },
    ...{ startTimeUnixNano: nanos(span.fromMs), endTimeUnixNano: nanos(span.toMs) },
    attributes: attributes(span.attributes),
    events: span.events.map((event) => ({
      ...{ timeUnixNano: nanos(event.atMs), name: event.name },
      attributes: attributes(event.attributes),
    })),
    // Unset when all is well: what counts as success is for the app to say.
    ...(span.isError ? { status: { code: STATUS_ERROR } } : {}),
  }
}

/** Times need more digits than a number has. */
function nanos(ms: number): string {
  const whole = Math.floor(ms)
  return String(BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1_000_000)))
}

const attributes = (pairs: readonly SpanAttribute[]): object[] =>
  pairs.map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value },
  }))
