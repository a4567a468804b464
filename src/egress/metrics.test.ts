import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EgressUsage } from '../model/wire.ts'
import { MACHINES_LABELLED_MAX, type MetricsInput, renderEgressMetrics } from './metrics.ts'

const usage = (machine: string, inUse: number): EgressUsage => ({
  ...{ machine, app: 'web', host: 'iad1', region: 'iad', pair: 'p1' },
  ...{ v4: '198.51.100.1', v6: null, slot: 1, count: 1, ports: 1024, total: inUse, elsewhere: 0 },
  ...{ inUse, peak: inUse, destinations: [], destinationCount: 0, exhausted: 1, dropped: {} },
  sampledAt: '2026-01-01T00:00:00.000Z',
})
const input = (change: Partial<MetricsInput>): MetricsInput => ({
  ...{ usage: [], counters: [], tracked: 12, trackedMax: 262_144, looks: 1, failures: 0 },
  ...{ tookMs: 250, reconciles: 3, flowLinesOmitted: 0 },
  ...change,
})

test('every line is of the text format, and every family has its type', () => {
  const counter = (table: 'egress' | 'egress_guard', name: string, packets: number) => ({
    ...{ table, name, packets, bytes: 0 },
  })
  const text = renderEgressMetrics(
    input({
      usage: [usage('m1', 900), usage('m"2\\', 3)],
      counters: [
        counter('egress', 'no_source', 2),
        counter('egress', 'over_limit', 5),
        counter('egress', 'block_full', 1),
        counter('egress', 'steered', 8),
        counter('egress_guard', 'wrong_source', 4),
      ],
    }),
  )
  const families = new Set(
    [...text.matchAll(/^# TYPE (\S+) (?:gauge|counter)$/gm)].map((m) => m[1]),
  )
  for (const line of text
    .trimEnd()
    .split('\n')
    .filter((l) => !l.startsWith('#'))) {
    const found =
      /^([a-z_]+)(\{[a-z]+="(?:[^"\\]|\\.)*"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\})? \d+(\.\d+)?$/.exec(
        line,
      )
    assert.ok(found, line)
    assert.ok(families.has(found[1]!), line)
  }
  const has = (line: string) => assert.ok(text.includes(`${line}\n`), `${line}\n${text}`)
  has('fairway_egress_ports_in_use{machine="m1",app="web"} 900')
  has('fairway_egress_ports_in_use{machine="m\\"2\\\\",app="web"} 3')
  has('fairway_egress_block_full_total 1')
  has('fairway_egress_refused_total 5')
  has('fairway_egress_steered_packets_total 8')
  has('fairway_egress_dropped_total{reason="no_source"} 2')
  has('fairway_egress_dropped_total{reason="guard_wrong_source"} 4')
  has('fairway_egress_conntrack_entries_max 262144')
})

test('what the kernel does not say is left out', () => {
  assert.doesNotMatch(
    renderEgressMetrics(input({ tracked: null })),
    /^fairway_egress_conntrack_entries /m,
  )
})

test('only so many machines have labels: the fullest', () => {
  const all = Array.from({ length: MACHINES_LABELLED_MAX + 50 }, (_, i) => usage(`m${i}`, i))
  const text = renderEgressMetrics(input({ usage: all }))
  assert.equal(text.match(/^fairway_egress_ports_in_use\{/gm)!.length, MACHINES_LABELLED_MAX)
  assert.match(text, new RegExp(`machine="m${MACHINES_LABELLED_MAX + 49}"`))
  assert.doesNotMatch(text, /machine="m0"/)
})
