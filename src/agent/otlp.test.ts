import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { SpanData } from '../proxy/observe/span.ts'
import { eventually } from '../proxy/testing-edge.ts'
import { otlpRequest } from './otlp.ts'
import {
  EXPORT_TRIES_MAX,
  OtlpExporter,
  readHeadersFile,
  SPANS_PER_BATCH_MAX,
  SPANS_WAITING_MAX,
} from './otlp-exporter.ts'

const SPAN: SpanData = {
  ...{ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' },
  ...{ parentId: '00f067aa0ba902b7', name: 'GET', isError: true },
  ...{ fromMs: 1_764_455_000_123, toMs: 1_764_455_000_135.25 },
  attributes: [
    ['http.request.method', 'GET'],
    ['http.response.status_code', 502],
  ],
  events: [
    { atMs: 1_764_455_000_130.5, name: 'attempt failed', attributes: [['error.type', 'PC01']] },
  ],
}
const RESOURCE = { host: 'iad1', region: 'iad' }
const cleanUps: (() => unknown)[] = []
after(async () => {
  for (const cleanUp of cleanUps) await cleanUp()
})

interface Received {
  readonly url: string
  readonly headers: http.IncomingHttpHeaders
  readonly spans: readonly { readonly spanId: string }[]
}

/** A receiver that answers as told: a status, or a body of a 200, or not at all. */
async function receiver(answers: (n: number) => number | object | 'hang') {
  const received: Received[] = []
  const server = http.createServer((request, response) => {
    let text = ''
    request.on('data', (part) => {
      text += part
    })
    request.on('end', () => {
      const body = JSON.parse(text)
      const { spans } = body.resourceSpans[0].scopeSpans[0]
      received.push({ url: request.url!, headers: request.headers, spans })
      const answer = answers(received.length)
      if (answer === 'hang') return
      if (typeof answer === 'number') response.writeHead(answer).end('no')
      else response.end(JSON.stringify(answer))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanUps.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as net.AddressInfo
  return { endpoint: `http://127.0.0.1:${port}`, received }
}

/** Whoever answers may be slow to. */
const ANSWERED_MS = 60_000
const HANGING_MS = 200

function exporter(endpoint: string, headers: Record<string, string> = {}, timeoutMs = ANSWERED_MS) {
  const problems: string[] = []
  const made = new OtlpExporter({
    ...{ endpoint, headers, resource: RESOURCE, random: () => 0.5, timeoutMs },
    clock: { now: Date.now, sleep: () => new Promise((resolve) => setImmediate(resolve)) },
    onProblem: (message) => problems.push(message),
  })
  cleanUps.push(() => made.close(0))
  return { made, problems }
}

test('spans in the JSON of OTLP: ids as they are, times and integers as text, enums as numbers', () => {
  assert.deepEqual(otlpRequest([SPAN], RESOURCE), {
    resourceSpans: [
      {
        resource: {
          attributes: [
            { key: 'service.name', value: { stringValue: 'fairway-edge' } },
            { key: 'service.instance.id', value: { stringValue: 'iad1' } },
            { key: 'host.name', value: { stringValue: 'iad1' } },
            { key: 'cloud.region', value: { stringValue: 'iad' } },
          ],
        },
        scopeSpans: [
          {
            scope: { name: 'fairway' },
            spans: [
              {
                traceId: '0af7651916cd43dd8448eb211c80319c',
                spanId: 'b7ad6b7169203331',
                parentSpanId: '00f067aa0ba902b7',
                ...{ flags: 1, name: 'GET', kind: 2 },
                startTimeUnixNano: '1764455000123000000',
                endTimeUnixNano: '1764455000135250000',
                attributes: [
                  { key: 'http.request.method', value: { stringValue: 'GET' } },
                  { key: 'http.response.status_code', value: { intValue: '502' } },
                ],
                events: [
                  {
                    ...{ timeUnixNano: '1764455000130500000', name: 'attempt failed' },
                    attributes: [{ key: 'error.type', value: { stringValue: 'PC01' } }],
                  },
                ],
                status: { code: 2 },
              },
            ],
          },
        ],
      },
    ],
  })
})

test('batches go to /v1/traces with the header fields, one after the other', async () => {
  const { endpoint, received } = await receiver(() => ({}))
  const { made, problems } = exporter(`${endpoint}/`, { authorization: 'Bearer t' })
  made.add(Array.from({ length: SPANS_PER_BATCH_MAX + 2 }, () => SPAN))
  await eventually(() => received.length === 2)
  assert.deepEqual(
    received.map(({ url, headers, spans }) => [
      ...[url, headers['content-type'], headers.authorization, spans.length],
    ]),
    [
      ['/v1/traces', 'application/json', 'Bearer t', SPANS_PER_BATCH_MAX],
      ['/v1/traces', 'application/json', 'Bearer t', 2],
    ],
  )
  await eventually(() => made.counts.exported === SPANS_PER_BATCH_MAX + 2)
  assert.deepEqual(problems, [])
})

test('what may succeed later is sent again, so often; what may not is dropped at once', async () => {
  const busy = await receiver((n) => (n < 3 ? 503 : {}))
  const { made } = exporter(busy.endpoint)
  made.add([SPAN])
  await eventually(() => made.counts.exported === 1)
  assert.equal(busy.received.length, 3)

  const wrong = await receiver(() => 400)
  const refused = exporter(wrong.endpoint)
  refused.made.add([SPAN])
  await eventually(() => refused.made.counts.failed === 1)
  assert.equal(wrong.received.length, 1)
  assert.match(refused.problems[0]!, /answered 400$/)

  const hanging = await receiver(() => 'hang')
  const late = exporter(hanging.endpoint, {}, HANGING_MS)
  late.made.add([SPAN])
  await eventually(() => late.made.counts.failed === 1)
  assert.equal(hanging.received.length, EXPORT_TRIES_MAX)
})

test('a receiver may take some of a batch', async () => {
  const { endpoint } = await receiver(() => ({
    partialSuccess: { rejectedSpans: '2', errorMessage: 'too old' },
  }))
  const { made, problems } = exporter(endpoint)
  made.add([SPAN, SPAN, SPAN])
  await eventually(() => made.counts.failed === 2)
  assert.equal(made.counts.exported, 1)
  assert.match(problems[0]!, /refused 2 of 3 spans: too old$/)
})

test('while the receiver is away a bounded number waits', async () => {
  const { endpoint } = await receiver(() => 'hang')
  const { made } = exporter(endpoint, {}, HANGING_MS)
  made.add([SPAN])
  made.add(Array.from({ length: SPANS_WAITING_MAX + 7 }, () => SPAN))
  assert.equal(made.counts.overflowed, 7)
  await made.close(0)
})

test('header fields come from a file that is its owner’s alone', () => {
  const dir = mkdtempSync(join(tmpdir(), 'otlp-'))
  cleanUps.push(() => rmSync(dir, { recursive: true }))
  const path = join(dir, 'headers.json')
  const withText = (text: string, mode = 0o600) => {
    writeFileSync(path, text)
    chmodSync(path, mode)
    return () => readHeadersFile(path)
  }
  assert.deepEqual(withText('{"authorization":"Bearer s3cret"}')(), {
    authorization: 'Bearer s3cret',
  })
  for (const [text, mode, why] of [
    ['{}', 0o644, /chmod 600/],
    ['s3cret', 0o600, /not JSON/],
    ['["s3cret"]', 0o600, /not an object/],
    ['{"a b":"s3cret"}', 0o600, /not a header's name/],
    ['{"a":"s3cret\\r\\nx: y"}', 0o600, /not visible ASCII/],
  ] as const)
    assert.throws(withText(text, mode), (error: Error) => {
      assert.match(error.message, why)
      assert.ok(!error.message.includes('s3cret'))
      return true
    })
})
