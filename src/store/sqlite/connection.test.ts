import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock, shown, Watching } from '../conformance/support.ts'
import { PENDING_MAX } from './connection.ts'
import { openSqliteStore } from './sqlite-store.ts'

const codesOf = (results: readonly PromiseSettledResult<unknown>[]) =>
  results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))

test('calls beyond what may wait are refused at once, and the others answered', async (t) => {
  const store = await openSqliteStore(':memory:')
  t.after(() => store.close())
  const calls = Array.from({ length: PENDING_MAX + 2 }, () => store.get('a'))
  assert.deepEqual(codesOf(await Promise.allSettled(calls)), ['store_busy', 'store_busy'])

  const value = 'x'.repeat(1024 * 1024)
  const puts = Array.from({ length: 70 }, () => store.txn({ then: [{ put: 'a', value }] }))
  const refused = codesOf(await Promise.allSettled(puts))
  assert.deepEqual(new Set(refused), new Set(['store_busy']))
  assert.ok(refused.length >= 6 && refused.length < 70, String(refused.length))
  assert.equal((await store.get('a'))?.version, 70 - refused.length)
})

test('leases end by themselves, also when nobody calls', async (t) => {
  const clock = new ManualClock()
  const store = await openSqliteStore(':memory:', { clock })
  t.after(() => store.close())
  const lease = await store.leases.grant(120_000)
  const short = await store.leases.grant(3_000)
  await store.txn({ then: [{ put: 'long', value: '', lease }] })
  await store.txn({ then: [{ put: 'short', value: '', lease: short }] })
  const watching = new Watching(store, [''], 2)
  const first = watching.take(1)
  clock.advance(3_000)
  assert.deepEqual((await first).map(shown), ['3: -short'])
  await store.leases.renew(lease)
  const second = watching.take(1)
  // One sleep is bounded, so the alarm rings more than once before the lease has ended.
  for (let ms = 0; ms < 120_000; ms += 30_000) {
    await store.get('long')
    clock.advance(30_000)
  }
  assert.deepEqual((await second).map(shown), ['4: -long'])
  await watching.stop()
})

test('options that make no sense are refused', async () => {
  await assert.rejects(openSqliteStore(':memory:', { retainRevisions: 0 }), { code: 'invalid' })
})
