import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { keys } from '../../model/keys.ts'
import type { Op } from '../../store/store.ts'
import { createOrg } from '../orgs.ts'
import { type TestControl, testActor, testControl } from '../testing.ts'
import { transact } from '../transact.ts'
import {
  closeMeter,
  egressUsage,
  forgetOldIntervals,
  METER_KEPT_MS,
  openMeter,
  priceOf,
} from './meter.ts'

const HOUR = 3_600_000
const actor = testActor('blue')
const V4 = '198.51.100.1'
const V6 = '2001:db8:e001::1'

async function setUp(): Promise<TestControl> {
  const control = testControl()
  await createOrg(control, { slug: 'blue', name: 'Blue', type: 'SHARED' })
  return control
}
const pair = (app: string) => ({ org: 'blue', app, regions: ['iad'] })
const open = ({ store, clock }: TestControl, address: string, app = 'web') =>
  store.txn({ then: [openMeter(clock.now(), pair(app), address)] })
const close = (control: TestControl, address: string, next?: Op) =>
  transact(control, async (read) => ({
    ops: await closeMeter(control.clock.now(), read, 'blue', address, next),
    result: null,
  }))
const usage = async (control: TestControl, from?: string, to?: string) => {
  const { addresses } = await egressUsage(control, actor, { org: 'blue', from, to })
  return addresses.map(({ address, app, hours, price }) => [address, app, hours, price])
}

test('a month is 720 hours: 3.60 is half a cent an hour; sums are exact, then rounded', () => {
  assert.equal(priceOf(1, '3.60'), '0.005000')
  assert.equal(priceOf(720, '3.60'), '3.600000')
  assert.equal(priceOf(1, '0.01'), '0.000014')
  assert.equal(priceOf(144_000_000, '9999.9999'), '1999999980.000000')
  assert.equal(priceOf(5, '0'), '0.000000')
})

test('hours of the clock count from allocation to release, begun ones whole, idle ones too', async () => {
  const control = await setUp()
  control.clock.advance(HOUR / 2)
  await open(control, V4)
  await open(control, V6)
  const before = ['2025-12-31T23:00:00Z', '2026-01-01T00:00:00Z'] as const
  assert.deepEqual(await usage(control, ...before), [])
  control.clock.advance(HOUR)
  assert.deepEqual(await usage(control), [
    [V4, 'web', 2, '0.010000'],
    [V6, 'web', 2, '0.000000'],
  ])
  await close(control, V4)
  control.clock.advance(10 * HOUR)
  // Again within the hour in which it ended would count that hour once.
  assert.deepEqual(await usage(control), [
    [V4, 'web', 2, '0.010000'],
    [V6, 'web', 12, '0.000000'],
  ])
  assert.deepEqual(await usage(control, '2026-01-01T02:00:00Z', '2026-01-01T03:00:00Z'), [
    [V6, 'web', 1, '0.000000'],
  ])
})

test('an address that changes its app costs each hour once', async () => {
  const control = await setUp()
  await open(control, V4)
  control.clock.advance(HOUR / 4)
  await close(control, V4, openMeter(control.clock.now(), pair('api'), V4))
  await close(control, V4, openMeter(control.clock.now(), pair('web'), V4))
  control.clock.advance(HOUR / 4)
  await close(control, V4)
  assert.deepEqual(await usage(control), [[V4, 'web', 1, '0.005000']])
})

test('the hours of a span are the sum of those of its hours', async () => {
  const times = fc.uniqueArray(fc.integer({ min: 0, max: 48 * 60 }), { minLength: 2, maxLength: 9 })
  const property = fc.asyncProperty(times, async (minutes) => {
    const control = await setUp()
    const start = control.clock.now()
    const held = new Set<number>()
    const sorted = minutes.toSorted((a, b) => a - b)
    for (const [i, minute] of sorted.entries()) {
      control.clock.advance(start + minute * 60_000 - control.clock.now())
      if (i % 2 === 0) await open(control, V4)
      else {
        await close(control, V4)
        for (let m = sorted[i - 1]!; m < minute; m++) held.add(Math.floor(m / 60))
      }
    }
    if (sorted.length % 2 === 1)
      await control.store.txn({ then: [{ delete: keys.egressHeld('blue', V4) }] })
    control.clock.advance(49 * HOUR)
    let sum = 0
    for (let hour = 0; hour < 49; hour++) {
      const at = (h: number) => new Date(start + h * HOUR).toISOString()
      const [one] = await usage(control, at(hour), at(hour + 1))
      assert.equal(one?.[2] ?? 0, held.has(hour) ? 1 : 0, `hour ${hour}`)
      sum += Number(one?.[2] ?? 0)
    }
    const [all] = await usage(control)
    assert.equal(all?.[2] ?? 0, sum)
  })
  await fc.assert(property, {
    numRuns: 20,
    ...(process.env.FAIRWAY_SEED ? { seed: Number(process.env.FAIRWAY_SEED) } : {}),
  })
})

test('spans that make no sense are refused; what nobody may ask for is forgotten', async () => {
  const control = await setUp()
  await assert.rejects(usage(control, 'yesterday'), /from: "yesterday" is no time/)
  await assert.rejects(usage(control, '2026-02-01', '2026-01-01'), /is not before to/)
  await assert.rejects(usage(control, '2020-01-01', '2026-01-01'), /longer than 400 days/)
  await assert.rejects(
    egressUsage(control, testActor('red'), { org: 'blue' }),
    /Could not find Org/,
  )
  await open(control, V4)
  control.clock.advance(HOUR)
  await close(control, V4)
  const forget = () =>
    transact(control, async (read) => {
      const ops = await forgetOldIntervals(control.clock.now(), read, 'blue')
      return { ops, result: ops.length }
    })
  control.clock.advance(METER_KEPT_MS)
  assert.equal((await forget()).result, 0)
  control.clock.advance(1)
  assert.equal((await forget()).result, 1)
})
