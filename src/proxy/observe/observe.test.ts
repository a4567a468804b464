import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { Counters } from '../counters.ts'
import type { EdgeProxyOptions } from '../edge-proxy.ts'
import { ACCESS_LINES_PER_APP_MAX, OBSERVED_PENDING_BYTES_MAX } from '../limits.ts'
import type { TestService } from '../testing.ts'
import { ADDRESS, eventually, Lab, ok, onRequests, SHARED } from '../testing-edge.ts'
import { type ObservedBatch, Outlet } from './outlet.ts'
import { renderSeries } from './render.ts'

const lab = new Lab()
after(() => lab.close())

const NO_OPTIONS = { rateLimit: null, slowStartMs: null, sticky: null } as const
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

/** An edge whose app answers with the head that it got; what was written down is in `batches`. */
async function setUp(
  observe: Partial<NonNullable<EdgeProxyOptions['observe']>>,
  service: Partial<TestService> = {},
) {
  const internalPort = await lab.app((socket) =>
    onRequests(socket, (head, body) => socket.write(ok(head + body))),
  )
  const batches: ObservedBatch[] = []
  const machines = [{ id: 'm1', services: [{ port: 80, internalPort, ...service }] }]
  const edge = await lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }], {
    observe: { accessLog: null, traces: null, ...observe },
    onObserved: (batch) => batches.push(batch),
    random: () => 0.5,
  })
  const ask = async (head: string, status = 200): Promise<string> => {
    const client = lab.client(edge.port)
    return client
      .send(`${head}Connection: close\r\n\r\n`)
      .end()
      .then((text) => {
        assert.match(text, new RegExp(`^HTTP/1.1 ${status} `))
        return text
      })
  }
  const lines = async (count: number) => {
    const all = () => batches.flatMap((b) => b.lines.split('\n')).filter((line) => line !== '')
    await eventually(() => all().length >= count)
    return all().map((line) => JSON.parse(line) as Record<string, unknown>)
  }
  const spans = async (count: number) => {
    await eventually(() => batches.flatMap((b) => b.spans).length >= count)
    return batches.flatMap((b) => b.spans)
  }
  return { edge, ask, lines, spans, batches }
}

describe('metrics of an app', () => {
  test('requests, connections and octets are counted where they are seen', async () => {
    const { edge, ask } = await setUp({})
    const text = await ask('GET / HTTP/1.1\r\nHost: a\r\n')
    await eventually(() => edge.count('connections') === 0)
    const rendered = renderSeries({
      ...{ host: 'iad1', region: 'iad', rows: [edge.proxy.series()], loads: [] },
      connectionsRefused: 0,
    })
    const labels = 'app="hello",region="iad",host="iad1"'
    const sent = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'.length
    for (const sample of [
      `fly_edge_http_responses_count{${labels},status="200"} 1`,
      `fly_edge_http_response_time_seconds_count{${labels},status="200"} 1`,
      `fly_edge_tcp_connects_count{${labels}} 1`,
      `fly_edge_tcp_disconnects_count{${labels}} 1`,
      `fly_edge_data_in{${labels}} ${sent}`,
      `fly_edge_data_out{${labels}} ${text.length}`,
      `fly_app_http_responses_count{${labels},instance="m1",status="200"} 1`,
      `fly_app_tcp_connects_count{${labels},instance="m1"} 1`,
      `fly_app_connect_time_seconds_count{${labels},instance="m1"} 1`,
    ])
      assert.ok(rendered.includes(`${sample}\n`), `${sample} in\n${rendered}`)
  })

  test('what the edge itself answers is counted too', async () => {
    const { edge, ask } = await setUp({}, { internalPort: 1 })
    await ask('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n', 502)
    const { labels } = edge.proxy.series()
    assert.ok(labels.includes('edge-status hello  502'), labels.join('\n'))
    assert.ok(!labels.some((label) => label?.startsWith('app-status')))
  })

  test('on a shared address each app is counted for its own requests, a name of nobody for none', async () => {
    const internalPort = await lab.app((socket) => onRequests(socket, () => socket.write(ok(''))))
    const services = [{ port: 80, internalPort }]
    const app = (name: string) => ({ name, sharedV4: SHARED, machines: [{ id: name, services }] })
    const edge = await lab.edge([app('one'), app('two')], { address: SHARED })
    const client = lab.client(edge.port)
    const sizes: number[] = []
    for (const [i, name] of ['one', 'nobody', 'two', 'two'].entries()) {
      const head = `GET /${i} HTTP/1.1\r\nHost: ${name}.fairway.test\r\n\r\n`
      sizes.push(head.length)
      client.send(head)
      await eventually(() => client.text.match(/HTTP\/1.1 /g)?.length === i + 1)
    }
    client.socket.destroy()
    await eventually(() => edge.count('connections') === 0)
    const { labels, values } = edge.proxy.series()
    const of = (name: string) => {
      const at = labels.indexOf(`edge ${name}  `) * 16
      return [...values.slice(at, at + 3)]
    }
    // The connection is that of the app which it asked first.
    assert.deepEqual(of('one'), [1, 1, sizes[0]!])
    assert.deepEqual(of('two'), [0, 0, sizes[2]! + sizes[3]!])
  })

  test('raw TCP is counted by connections and octets', async () => {
    const internalPort = await lab.app((socket) => socket.pipe(socket))
    const edge = await lab.simple(internalPort, { handlers: [] })
    const client = lab.client(edge.port).send('hello')
    await client.until('hello')
    client.socket.end()
    await eventually(() => edge.count('connections') === 0)
    const rows = edge.proxy.series()
    const of = (label: string) => {
      const at = rows.labels.indexOf(label) * 16
      return [...rows.values.slice(at, at + 4)]
    }
    assert.deepEqual(of('edge hello  '), [1, 1, 5, 5])
    assert.deepEqual(of('app hello m1 '), [1, 1, 0, 0])
  })
})

describe('access log', () => {
  const accessLog = { sampleRate: 1, query: false }

  test('a line has what is documented, and nothing secret', async () => {
    const { ask, lines } = await setUp({ accessLog })
    const secret = 'Authorization: Bearer s3cret\r\nCookie: s3cret\r\n'
    const text = await ask(`GET /a?key=s3cret HTTP/1.1\r\nHost: a:80\r\n${secret}`)
    const [line] = await lines(1)
    assert.ok(!JSON.stringify(line).includes('s3cret'))
    const { time, request_id, duration_ms, first_byte_ms, upstream_connect_ms, ...rest } = line!
    assert.ok(Date.parse(time as string) > 0)
    assert.ok(text.includes(`Fly-Request-Id: ${request_id}\r\n`))
    for (const ms of [duration_ms, first_byte_ms, upstream_connect_ms])
      assert.ok((ms as number) > 0)
    assert.ok((duration_ms as number) >= (first_byte_ms as number))
    const received =
      `GET /a?key=s3cret HTTP/1.1\r\nHost: a:80\r\n${secret}Connection: close\r\n\r\n`.length
    assert.deepEqual(rest, {
      ...{ app: 'hello', machine: 'm1', machine_region: 'iad', region: 'iad', host: 'iad1' },
      ...{ client_ip: '127.0.0.1', method: 'GET', host_header: 'a:80', path: '/a' },
      ...{ protocol: 'HTTP/1.1', status: 200, code: '', complete: true },
      ...{ bytes_received: received, bytes_sent: text.length, attempts: 1, trace_id: '' },
    })
  })

  test('query strings by choice; a code where the edge answered', async () => {
    const { ask, lines } = await setUp(
      { accessLog: { ...accessLog, query: true } },
      { internalPort: 1 },
    )
    await ask('POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n', 502)
    const [line] = await lines(1)
    assert.deepEqual(
      [line!.path, line!.status, line!.code, line!.attempts, line!.machine],
      ['/a?b', 502, 'PC01', line!.attempts, 'm1'],
    )
    assert.ok((line!.attempts as number) >= 1)
  })

  test('a sample is a sample, and off is off', async () => {
    for (const sampleRate of [0, 0.5]) {
      const { ask, batches } = await setUp({ accessLog: { sampleRate, query: false } })
      await ask('GET / HTTP/1.1\r\nHost: a\r\n') // random() is 0.5.
      await new Promise((resolve) => setTimeout(resolve, 300))
      assert.deepEqual(batches, [])
    }
  })

  test('a service’s own goes to its app’s log, so many lines a second', async () => {
    const { edge, ask, batches } = await setUp(
      {},
      { options: { ...NO_OPTIONS, accessLog: { sampleRate: 1, query: true } } },
    )
    const count = ACCESS_LINES_PER_APP_MAX + 5
    const client = lab.client(edge.port)
    for (let i = 1; i <= count; i++) {
      client.send(`GET /${i}?q HTTP/1.1\r\nHost: a\r\n\r\n`)
      await client.until(new RegExp(`GET /${i}\\?q `))
    }
    await ask('GET /last HTTP/1.1\r\nHost: a\r\n')
    assert.ok(edge.logs.length >= ACCESS_LINES_PER_APP_MAX)
    const [first] = edge.logs
    assert.deepEqual([first!.app, first!.machine, first!.level], ['hello', 'm1', 'info'])
    assert.equal((JSON.parse(first!.message) as { path: string }).path, '/1?q')
    assert.equal(edge.logs.length + edge.limit('access_log_lines'), count + 1)
    assert.deepEqual(batches, [])
  })
})

describe('traces', () => {
  const traceparent = (flags: string) => `traceparent: 00-${TRACE}-${PARENT}-${flags}\r\n`
  const GET = 'GET /p?q HTTP/1.1\r\nHost: a\r\n'

  test('without an exporter the context is passed on as it came', async () => {
    const { ask } = await setUp({})
    const text = await ask(`${GET}${traceparent('01')}tracestate: a=1\r\n`)
    assert.ok(text.includes(traceparent('01')) && text.includes('tracestate: a=1\r\n'))
  })

  test('a sampled trace goes on in a span of the edge, which is the app’s parent', async () => {
    const { ask, spans } = await setUp({ traces: { sampleRate: 0 } })
    const text = await ask(`${GET}${traceparent('01')}tracestate: a=1\r\n`)
    const [span] = await spans(1)
    assert.deepEqual([span!.traceId, span!.parentId], [TRACE, PARENT])
    assert.ok(text.includes(`\r\ntraceparent: 00-${TRACE}-${span!.spanId}-01\r\n`))
    assert.ok(text.includes('tracestate: a=1\r\n') && !text.includes(PARENT))
    const attributes = new Map(span!.attributes)
    assert.equal(attributes.get('http.response.status_code'), 200)
    assert.equal(attributes.get('url.path'), '/p')
    assert.deepEqual([attributes.get('server.address'), attributes.get('server.port')], ['a', 80])
    assert.equal(attributes.get('fairway.machine'), 'm1')
    assert.ok(span!.toMs > span!.fromMs && !span!.isError)
  })

  test('a trace that is not sampled is left alone', async () => {
    const { ask, batches } = await setUp({ traces: { sampleRate: 1 } })
    const text = await ask(`${GET}${traceparent('00')}`)
    assert.ok(text.includes(traceparent('00')))
    await new Promise((resolve) => setTimeout(resolve, 300))
    assert.deepEqual(batches, [])
  })

  for (const [what, headers] of [
    ['none', ''],
    ['an invalid', 'traceparent: 00-xyz\r\ntracestate: a=1\r\n'],
    ['two', `${traceparent('01')}${traceparent('01')}tracestate: a=1\r\n`],
  ])
    test(`with ${what} context a trace begins at the edge`, async () => {
      const { ask, spans } = await setUp({ traces: { sampleRate: 1 } })
      const text = await ask(GET + headers)
      const [span] = await spans(1)
      assert.ok(span!.parentId === '' && span!.traceId !== TRACE)
      assert.deepEqual(text.match(/traceparent: .*/g), [
        `traceparent: 00-${span!.traceId}-${span!.spanId}-01`,
      ])
      assert.ok(!text.includes('tracestate'))
    })

  test('failed attempts are events of the span', async () => {
    const { ask, spans } = await setUp({ traces: { sampleRate: 1 } }, { internalPort: 1 })
    await ask('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n', 502)
    const [span] = await spans(1)
    assert.ok(span!.isError)
    assert.deepEqual(span!.events[0]!.attributes[1], ['error.type', 'PC01'])
  })
})

test('what nobody takes is dropped and counted; what is acknowledged makes room', () => {
  const counters = new Counters()
  const batches: ObservedBatch[] = []
  const later: (() => void)[] = []
  const outlet = new Outlet({
    ...{ counters, emit: (batch) => batches.push(batch) },
    later: (_ms, callback) => later.push(callback),
  })
  const line = 'x'.repeat(1023)
  const fit = OBSERVED_PENDING_BYTES_MAX / 1024
  for (let i = 0; i < fit + 3; i++) outlet.line(line)
  for (const flush of later.splice(0)) flush()
  assert.equal(counters.limits.get('access_log_lines'), 3)
  assert.equal(
    batches.reduce((n, { bytes }) => n + bytes, 0),
    OBSERVED_PENDING_BYTES_MAX,
  )
  outlet.acknowledge(batches[0]!.bytes)
  outlet.line(line)
  assert.equal(counters.limits.get('access_log_lines'), 3)
})
