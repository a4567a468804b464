import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LoadCells, newLoadMemory } from '../proxy/balance/loads.ts'
import {
  LOAD_FALL_MS,
  LOAD_TELL_MIN_MS,
  LOAD_TELLS_BURST_MAX,
  LOAD_TELLS_PER_SECOND_MAX,
  LoadReports,
} from './edge-load-reports.ts'
import type { CountedMachine } from './edge-load-slots.ts'

function setUp(n = 1) {
  const cells = new LoadCells(newLoadMemory(n))
  const machines = Array.from(
    { length: n },
    (_, slot): CountedMachine => ({
      ...{ machine: `m${slot}`, app: 'hello', slots: [slot], limits: [{ soft: 2, hard: 3 }] },
    }),
  )
  const reports = new LoadReports(cells)
  const load = (count: number, slot = 0) => {
    while (cells.count(slot) < count) cells.claim(slot, null)
    while (cells.count(slot) > count) cells.release(slot)
  }
  const scan = (nowMs: number) => {
    const { told, againMs } = reports.scan(machines, nowMs)
    return [told.map(({ machine, load }) => `${machine}=${load}`).join(' '), againMs] as const
  }
  return { load, scan, reports, machines }
}

test('more load is told at once, less of it when it has lasted', () => {
  const { load, scan } = setUp()
  assert.deepEqual(scan(1_000), ['', Infinity])
  load(2)
  assert.deepEqual(scan(2_000), ['m0=1', Infinity])
  load(3)
  assert.deepEqual(scan(3_000), ['m0=2', Infinity])
  load(0)
  assert.deepEqual(scan(4_000), ['', 4_000 + LOAD_FALL_MS])
  load(1)
  assert.deepEqual(scan(4_000 + LOAD_FALL_MS), ['m0=0', Infinity])
})

test('a service that flaps around its limit stays at it', () => {
  const { load, scan } = setUp()
  load(3)
  assert.equal(scan(1_000)[0], 'm0=2')
  for (let now = 1_000; now < 20_000; now += LOAD_FALL_MS / 2) {
    load(2)
    assert.equal(scan(now)[0], '')
    load(3)
    assert.equal(scan(now + LOAD_FALL_MS / 4)[0], '')
  }
})

test('whatever it does, a service is told at most so often', () => {
  const { load, scan } = setUp()
  const told: number[] = []
  let seed = 7
  for (let now = 1_000; now < 11_000; now += 5) {
    seed = (seed * 48_271) % 2_147_483_647
    if (seed % 3 === 0) load(seed % 5)
    if (scan(now)[0] !== '') told.push(now)
  }
  for (const [i, now] of told.entries())
    assert.ok(i === 0 || now - told[i - 1]! >= LOAD_TELL_MIN_MS, `${told[i - 1]} ${now}`)
  assert.ok(told.length <= 60, `${told.length} in ten seconds`)
})

test('a host tells a bounded number in a second, the full ones first', () => {
  const n = LOAD_TELLS_BURST_MAX * 2
  const { load, scan } = setUp(n)
  for (let slot = 0; slot < n; slot++) load(slot < LOAD_TELLS_BURST_MAX ? 2 : 3, slot)
  const [first, againMs] = scan(1_000)
  assert.equal(first.split(' ').length, LOAD_TELLS_BURST_MAX)
  assert.ok(!first.includes('=1'))
  assert.equal(againMs, 1_000 + LOAD_TELL_MIN_MS)
  const [next] = scan(againMs)
  assert.equal(next.split(' ').length, (LOAD_TELLS_PER_SECOND_MAX * LOAD_TELL_MIN_MS) / 1_000)
})

test('what was told of a machine is taken back when it goes', () => {
  const { load, scan, reports, machines } = setUp(2)
  load(3, 1)
  scan(1_000)
  assert.deepEqual(reports.forget(machines[0]!), [])
  assert.deepEqual(reports.forget(machines[1]!), [{ machine: 'm1', service: 0, load: 0 }])
  assert.deepEqual(reports.forget(machines[1]!), [])
})
