import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { RETRIES_FREE_MAX, RETRY_APPS_MAX, RETRY_SHARE_MAX, RETRY_WINDOW_MS } from '../limits.ts'
import { RetryBudget, RetryBudgets } from './retry-budgets.ts'

/** How many retries of `n` are allowed. */
const take = (budget: RetryBudget, n: number, nowMs: number): number =>
  Array.from({ length: n }, () => budget.take(nowMs)).filter(Boolean).length
const request = (budget: RetryBudget, n: number) => {
  for (let i = 0; i < n; i++) budget.requested()
}

test('an app with few requests has a number of them free', () => {
  const budget = new RetryBudget(0)
  assert.equal(take(budget, 2 * RETRIES_FREE_MAX, 0), RETRIES_FREE_MAX)
  assert.equal(take(budget, 1, RETRY_WINDOW_MS), 0)
  const later = take(budget, 2 * RETRIES_FREE_MAX, 2 * RETRY_WINDOW_MS)
  assert.equal(later, RETRIES_FREE_MAX / 2)
  const muchLater = take(budget, 2 * RETRIES_FREE_MAX, 100 * RETRY_WINDOW_MS)
  assert.ok(muchLater > 0.97 * RETRIES_FREE_MAX, `${muchLater}`)
})

test('one with many has a share of them', () => {
  const budget = new RetryBudget(0)
  const requests = 10 * (RETRIES_FREE_MAX / RETRY_SHARE_MAX)
  request(budget, requests)
  assert.equal(take(budget, requests, 1), RETRY_SHARE_MAX * requests)
})

test('what was long ago buys nothing', () => {
  const budget = new RetryBudget(0)
  request(budget, 1_000_000)
  assert.equal(take(budget, 1_000_000, 100_000 * RETRY_WINDOW_MS), RETRIES_FREE_MAX)
})

test('over any time retries are a share of the requests, but for what is free', () => {
  const step = fc.record({
    afterMs: fc.nat(3_000),
    requests: fc.nat(2_000),
    wanted: fc.nat(2_000),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let now = 0
      let requests = 0
      let retries = 0
      const budget = new RetryBudget(0)
      for (const { afterMs, requests: n, wanted } of steps) {
        now += afterMs
        requests += n
        request(budget, n)
        retries += take(budget, wanted, now)
        const free = RETRIES_FREE_MAX * (1 + now / RETRY_WINDOW_MS)
        assert.ok(retries <= RETRY_SHARE_MAX * requests + 2 * free, `${retries} of ${requests}`)
      }
    }),
  )
})

test('apps are apart, and as many as are remembered', () => {
  const budgets = new RetryBudgets()
  const first = budgets.of('first', 0)
  assert.equal(budgets.of('first', 5), first)
  take(first, RETRIES_FREE_MAX, 0)
  assert.ok(budgets.of('other', 0).take(0))
  for (let i = 0; i < RETRY_APPS_MAX; i++) budgets.of(`app-${i}`, 0)
  assert.notEqual(budgets.of('first', 0), first)
})
