import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deadlines } from '../base/deadlines.ts'
import { Counters, renderMetrics } from './counters.ts'
import { RequestIds } from './http1/request-id.ts'

test('metrics are the sum of the workers', () => {
  const [a, b] = [new Counters(), new Counters()]
  a.requests[2]! += 3
  b.requests[2]! += 4
  a.requests[6]! += 1
  b.requests[9]! += 1
  a.error('PC01')
  b.error('PC01')
  b.limit('head_bytes')
  b.connectionsOpen = 5
  const text = renderMetrics([a.snapshot(), b.snapshot()])
  for (const sample of [
    '# TYPE fairway_edge_requests_total counter',
    'fairway_edge_requests_total{status="2xx"} 7',
    'fairway_edge_requests_total{status="other"} 2',
    'fairway_edge_errors_total{code="PC01"} 2',
    'fairway_edge_limit_hits_total{limit="head_bytes"} 1',
    '# TYPE fairway_edge_connections_open gauge',
    'fairway_edge_connections_open 5',
  ])
    assert.ok(text.includes(`${sample}\n`), sample)
})

test('a deadline strikes when a sweep finds it passed, and may be moved', () => {
  let now = 1e12
  const deadlines = new Deadlines(() => now)
  const struck: string[] = []
  const timed = (name: string, deadline: number) => {
    const entry = {
      deadline,
      onDeadline() {
        struck.push(name)
        deadlines.delete(entry)
      },
    }
    deadlines.add(entry)
    return entry
  }
  timed('soon', 10)
  const moved = timed('moved', 10)
  timed('never', Infinity)
  moved.deadline = 30
  now += 10
  deadlines.sweep()
  assert.deepEqual([struck, deadlines.now], [['soon'], 10])
  now += 1_000
  deadlines.sweep()
  assert.deepEqual(struck, ['soon', 'moved'])
})

test('request ids are ULIDs that grow, with the region', () => {
  let now = 1_800_000_000_000
  const ids = new RequestIds('iad', () => now)
  const seen: string[] = []
  for (let i = 0; i < 1_000; i++) {
    if (i % 100 === 0) now++
    seen.push(ids.next())
  }
  for (const id of seen) assert.match(id, /^[0-9A-HJKMNP-TV-Z]{26}-iad$/)
  assert.equal(new Set(seen).size, seen.length)
  assert.deepEqual(seen, [...seen].sort())
})
