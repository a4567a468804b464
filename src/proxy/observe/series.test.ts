import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Counters } from '../counters.ts'
import { STATUSES_PER_SERIES_MAX } from '../limits.ts'
import { renderSeries } from './render.ts'
import { AppMetrics, BUCKETS_S } from './series.ts'

const render = (...metrics: readonly AppMetrics[]) =>
  renderSeries({
    ...{ host: 'iad1', region: 'iad', rows: metrics.map((m) => m.snapshot()) },
    ...{ loads: [{ app: 'hello', machine: 'm1', concurrency: 3 }], connectionsRefused: 2 },
  })
const has = (text: string, ...samples: readonly string[]) => {
  for (const sample of samples) assert.ok(text.includes(`${sample}\n`), `${sample} in\n${text}`)
}
const EDGE = 'app="hello",region="iad",host="iad1"'
const APP = `${EDGE},instance="m1"`

test('series of an app are the sums of all workers, under Fly’s names', () => {
  const [a, b] = [new AppMetrics(new Counters()), new AppMetrics(new Counters())]
  for (const metrics of [a, b]) {
    const edge = metrics.edge('hello')
    edge.connected()
    edge.responded(200, 2)
    edge.responded(200, 40_000)
    edge.responded(503, 1)
    edge.moved(10, 20)
    const instance = metrics.instance('hello', 'm1')
    instance.connected(0.4)
    instance.responded(200, 1.5)
  }
  a.edge('hello').disconnected()
  a.instance('hello', 'm1').disconnected()
  const text = render(a, b)
  has(
    text,
    ...[`fly_edge_tcp_connects_count{${EDGE}} 2`, `fly_edge_tcp_disconnects_count{${EDGE}} 1`],
    ...[`fly_edge_data_in{${EDGE}} 20`, `fly_edge_data_out{${EDGE}} 40`],
    `fly_edge_http_responses_count{${EDGE},status="200"} 4`,
    `fly_edge_http_responses_count{${EDGE},status="503"} 2`,
    `fly_edge_http_response_time_seconds_bucket{${EDGE},status="200",le="0.001"} 0`,
    `fly_edge_http_response_time_seconds_bucket{${EDGE},status="200",le="0.0025"} 2`,
    `fly_edge_http_response_time_seconds_bucket{${EDGE},status="200",le="30"} 2`,
    `fly_edge_http_response_time_seconds_bucket{${EDGE},status="200",le="+Inf"} 4`,
    `fly_edge_http_response_time_seconds_sum{${EDGE},status="200"} 80.004`,
    `fly_edge_http_response_time_seconds_bucket{${EDGE},status="503",le="0.001"} 2`,
    ...[`fly_app_tcp_connects_count{${APP}} 2`, `fly_app_tcp_disconnects_count{${APP}} 1`],
    `fly_app_connect_time_seconds_count{${APP}} 2`,
    `fly_app_http_responses_count{${APP},status="200"} 2`,
    `fly_app_concurrency{${APP}} 3`,
    'fly_edge_tcp_rate_limited_count{region="iad",host="iad1",type="connections"} 2',
  )
})

test('every sample belongs to a family that was announced, and is a number', () => {
  const metrics = new AppMetrics(new Counters())
  metrics.edge('hello').responded(200, 1)
  metrics.instance('hello', 'm1').connected(1)
  let family = ''
  for (const line of render(metrics).trimEnd().split('\n')) {
    const type = /^# TYPE (\w+) (?:counter|gauge|histogram)$/.exec(line)
    if (type) family = type[1]!
    else assert.match(line, new RegExp(`^${family}(_bucket|_sum|_count)?\\{[^}]+\\} [0-9.e+-]+$`))
  }
})

test('above the limits there is one series for all others, and the limit is counted', () => {
  const counters = new Counters()
  const metrics = new AppMetrics(counters, { appsMax: 2, instancesMax: 1 })
  for (const app of ['a', 'b', 'c', 'd']) metrics.edge(app).responded(200, 1)
  for (const machine of ['m1', 'm2', 'm3']) metrics.instance('a', machine).responded(200, 1)
  const place = 'region="iad",host="iad1"'
  has(
    render(metrics),
    `fly_edge_http_responses_count{app="b",${place},status="200"} 1`,
    `fly_edge_http_responses_count{app="_overflow",${place},status="200"} 2`,
    `fly_app_http_responses_count{app="_overflow",${place},instance="_overflow",status="200"} 2`,
  )
  assert.equal(counters.limits.get('app_series'), 4)
})

test('an app that answers with any number has a bounded number of statuses', () => {
  const metrics = new AppMetrics(new Counters())
  const series = metrics.edge('hello')
  for (let status = 100; status < 1000; status++) series.responded(status, 1)
  const counts = render(metrics).match(/^fly_edge_http_responses_count\{.*$/gm)!
  assert.equal(counts.length, STATUSES_PER_SERIES_MAX + 1)
  assert.match(counts.at(-1)!, new RegExp(`status="other"} ${900 - STATUSES_PER_SERIES_MAX}$`))
})

test('what is gone is not told any more, its room is used again, and nobody counts into it', () => {
  const metrics = new AppMetrics(new Counters(), { appsMax: 1, instancesMax: 1 })
  const old = metrics.edge('old')
  const machine = metrics.instance('old', 'm1')
  old.responded(200, 1)
  machine.responded(200, 1)
  machine.connected(1)
  const { length } = metrics.snapshot().labels
  metrics.changed('old', [{ machine: 'm1' }])
  assert.equal(metrics.edge('old'), old)
  metrics.changed('old', null)
  assert.ok(!render(metrics).includes('app="old"'))
  const next = metrics.edge('hello')
  metrics.instance('hello', 'm1').connected(1)
  next.responded(204, 1)
  // Connections that are still open go on with what they know.
  old.responded(200, 1)
  old.responded(500, 1)
  old.moved(5, 5)
  machine.responded(200, 1)
  machine.connected(1)
  const text = render(metrics)
  has(text, `fly_edge_http_responses_count{${EDGE},status="204"} 1`, `fly_edge_data_in{${EDGE}} 0`)
  has(text, `fly_app_connect_time_seconds_count{${APP}} 1`)
  assert.ok(!text.includes('app="old"') && !text.includes('status="500"'))
  assert.equal(metrics.snapshot().labels.length, length)
})

test('a machine that left the app is forgotten alone', () => {
  const metrics = new AppMetrics(new Counters())
  for (const machine of ['m1', 'm2']) metrics.instance('hello', machine).responded(200, 1)
  metrics.changed('hello', [{ machine: 'm1' }])
  const text = render(metrics)
  assert.ok(text.includes('instance="m1",status="200"') && !text.includes('instance="m2"'))
})

test('without room for rows nothing is counted, and that is counted', () => {
  const counters = new Counters()
  const metrics = new AppMetrics(counters, { rowsMax: 2 })
  metrics.edge('a').responded(200, 1)
  metrics.edge('b').responded(200, 1)
  assert.ok(counters.limits.get('app_series')! >= 2)
  assert.equal(metrics.snapshot().labels.filter((label) => label !== null).length, 1)
  assert.equal(BUCKETS_S.length + 2, 16)
})
