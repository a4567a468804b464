import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { BURST_SECONDS_MAX } from '../../model/service-options.ts'
import { newRateMemory, RateTable } from './rate-table.ts'

function setUp(places = 1_024) {
  const clock = { now: 5_000 }
  let full = 0
  const memory = newRateMemory(places)
  const table = () => new RateTable({ memory, now: () => clock.now, onFull: () => full++ })
  return { clock, memory, table: table(), other: table(), full: () => full }
}

test('a burst at once, then one after the other as the rate says', () => {
  const { table, clock } = setUp()
  const limit = { perSecond: 4, burst: 3 }
  const key = table.keyOf('a')
  assert.deepEqual(
    [1, 2, 3].map(() => table.take(key, limit)),
    [0, 0, 0],
  )
  assert.equal(table.take(key, limit), 250)
  clock.now += 249
  assert.equal(table.take(key, limit), 1)
  clock.now += 1
  assert.equal(table.take(key, limit), 0)
  assert.equal(table.take(key, limit), 250)
  clock.now += 750
  assert.deepEqual(
    [1, 2, 3, 4].map(() => table.take(key, limit) > 0),
    [false, false, false, true],
  )
})

test('keys are apart', () => {
  // So many places that no set of four is asked for a fifth key.
  const { table } = setUp(65_536)
  const limit = { perSecond: 1, burst: 1 }
  const keys = Array.from({ length: 50 }, (_, i) => table.keyOf(`source ${i}`))
  assert.ok(keys.every((key) => table.take(key, limit) === 0))
  assert.ok(keys.every((key) => table.take(key, limit) > 0))
})

test('whenever they come, no more pass than the burst and the rate', () => {
  const any = fc.record({
    perSecond: fc.oneof(
      fc.double({ min: 0.001, max: 1, noNaN: true }),
      fc.integer({ min: 1, max: 10_000 }),
    ),
    burst: fc.integer({ min: 1, max: 50 }),
  })
  // What fly.toml may say.
  const rate = any.filter(({ perSecond, burst }) => burst / perSecond <= BURST_SECONDS_MAX)
  const gapMs = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 5_000 }))
  fc.assert(
    fc.property(rate, fc.array(gapMs, { maxLength: 300 }), (limit, gaps) => {
      const { table, other, clock } = setUp()
      const began = clock.now
      let passed = 0
      for (const [i, gap] of gaps.entries()) {
        clock.now += gap
        const by = i % 2 === 0 ? table : other
        const waitMs = by.take(by.keyOf('a'), limit)
        if (waitMs === 0) passed++
        else if (limit.perSecond >= 1) assert.ok(waitMs <= 1_001, `${waitMs}`)
        // Steps are whole microseconds.
        const earned = ((clock.now - began) / 1_000) * limit.perSecond * 1.02
        assert.ok(passed <= limit.burst + earned + 1e-6, `${passed} in ${clock.now - began} ms`)
      }
    }),
  )
})

test('one that comes when it was told to passes', () => {
  const perSecond = fc.double({ min: 0.01, max: 5_000, noNaN: true })
  fc.assert(
    fc.property(perSecond, fc.integer({ min: 1, max: 9 }), (rate, burst) => {
      const { table, clock } = setUp()
      const limit = { perSecond: rate, burst }
      const key = table.keyOf('a')
      for (let i = 0; i < 30; i++) {
        const waitMs = table.take(key, limit)
        if (waitMs === 0) continue
        clock.now += waitMs + 0.001
        assert.equal(table.take(key, limit), 0)
      }
    }),
  )
})

test('long silence is no debt, however often the clock has gone round', () => {
  const { table, clock } = setUp()
  const limit = { perSecond: 1, burst: 1 }
  const key = table.keyOf('a')
  for (let i = 0; i < 200; i++) {
    assert.equal(table.take(key, limit), 0, `at ${clock.now}`)
    clock.now += 41 * 24 * 3_600_000
  }
})

test('more sources than there is room for: counted, and hardly anybody is refused for others', () => {
  const { table, full } = setUp(64)
  const limit = { perSecond: 1, burst: 1 }
  let refused = 0
  for (let i = 0; i < 1_000; i++) if (table.take(table.keyOf(`s${i}`), limit) > 0) refused++
  // Four neighbours, whose tags have 20 bits: one is expected in 262,144, two are not in 1,000.
  assert.ok(refused <= 2, `${refused}`)
  assert.ok(full() > 900, `${full()}`)
})

test('a key is somewhere else in another edge: nobody can foretell it', () => {
  const keys = Array.from({ length: 20 }, () => setUp(65_536).table.keyOf('a').at)
  assert.ok(new Set(keys).size > 10)
})

test('threads that take at once get what the burst allows, together', async () => {
  const memory = newRateMemory(64)
  const limit = { perSecond: 1, burst: 1_000 }
  const code = `
    const { workerData: { url, memory, limit }, parentPort } = require('node:worker_threads')
    import(url).then(({ RateTable }) => {
      const table = new RateTable({ memory, now: () => 5 })
      const key = table.keyOf('a')
      let passed = 0
      for (let i = 0; i < 2_000; i++) if (table.take(key, limit) === 0) passed++
      parentPort.postMessage(passed)
    })`
  const url = new URL('./rate-table.ts', import.meta.url).href
  const passed = await Promise.all(
    [1, 2].map(
      () =>
        new Promise<number>((resolve, reject) => {
          const worker = new Worker(code, { eval: true, workerData: { url, memory, limit } })
          worker.on('message', resolve).on('error', reject)
        }),
    ),
  )
  assert.equal(passed[0]! + passed[1]!, limit.burst)
})
