import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeClock, memoryStore } from './testing.ts'
import { LANE_WAITING_MAX, put, readAll, TRANSACT_ATTEMPTS_MAX, transact } from './transact.ts'

const context = () => ({ store: memoryStore(), clock: fakeClock(), random: () => 0.5 })

const increment = (c: ReturnType<typeof context>, lane?: string) =>
  transact(
    c,
    async (read) => {
      const n = (await read.get<number>('n')) ?? 0
      return { ops: [put('n', n + 1)], result: n }
    },
    lane === undefined ? {} : { lane },
  )

test('racing changes of one key all happen, each on the other', async () => {
  const c = context()
  const results = await Promise.all(Array.from({ length: 8 }, () => increment(c)))
  assert.deepEqual(
    results.map((r) => r.result).sort((a, b) => a - b),
    [0, 1, 2, 3, 4, 5, 6, 7],
  )
})

test('a lane lets many more through without a conflict', async () => {
  const c = context()
  const results = await Promise.all(Array.from({ length: 300 }, () => increment(c, 'n')))
  assert.equal(new Set(results.map((r) => r.result)).size, 300)
  assert.ok(LANE_WAITING_MAX > 300)
})

test('a failure in a lane does not stop those behind it', async () => {
  const c = context()
  const fails = transact(c, () => Promise.reject(new Error('no')), { lane: 'n' })
  const works = increment(c, 'n')
  await assert.rejects(fails, /no/)
  assert.equal((await works).result, 0)
})

test('what never settles ends as a conflict after a bounded number of attempts', async () => {
  const c = context()
  let attempts = 0
  const disturbed = transact(c, async (read) => {
    attempts += 1
    await read.get('n')
    await c.store.txn({ then: [put('n', attempts)] })
    return { ops: [put('other', 1)], result: null }
  })
  await assert.rejects(disturbed, { code: 'conflict', status: 409 })
  assert.equal(attempts, TRANSACT_ATTEMPTS_MAX)
})

test('an absent key that appears meanwhile is a conflict; a peeked one is not', async () => {
  const c = context()
  let first = true
  const done = await transact(c, async (read) => {
    const seen = await read.get<number>('a')
    await read.peek('b')
    if (first) await c.store.txn({ then: [put('a', 1), put('b', 1)] })
    first = false
    return { ops: [put('c', seen ?? 'absent')], result: seen }
  })
  assert.equal(done.result, 1)
})

test('no operations: nothing is written and the result stands', async () => {
  const c = context()
  const done = await transact(c, async () => ({ ops: [], result: 'as it was' }))
  assert.deepEqual(done, { result: 'as it was', revision: 0 })
  assert.equal(c.store.dump().size, 0)
})

test('readAll follows pages', async () => {
  const c = context()
  for (let i = 0; i < 1_050; i++) {
    await c.store.txn({ then: [put(`k/${String(i).padStart(5, '0')}`, i)] })
  }
  const all = await readAll<number>(c.store, 'k/', 5_000)
  assert.deepEqual(
    all.map((e) => e.value),
    Array.from({ length: 1_050 }, (_, i) => i),
  )
  await assert.rejects(readAll(c.store, 'k/', 500), { code: 'too_many' })
})
