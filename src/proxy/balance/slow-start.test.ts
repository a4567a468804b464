import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SLOW_START_MS, SLOW_START_WEIGHT_MIN } from '../limits.ts'
import { claim, idOf, machine, setUp } from './testing.ts'

const UP_MS = 1_000_000

/** Share of the machine `new`, which began to serve at UP_MS, beside two old ones. */
function shareAfter(ms: number, upSinceMs = UP_MS): number {
  let seed = 11
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const machines = [
    machine('old', 'iad2', { upSinceMs: 1 }),
    machine('new', 'iad2', { upSinceMs }),
    machine('older', 'iad2'),
  ]
  const { balancer, route, clock } = setUp(machines, random)
  clock.now = UP_MS + ms
  const n = 6_000
  let hits = 0
  for (let i = 0; i < n; i++) if (idOf(claim(balancer, route)) === 'new') hits++
  return hits / n
}

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 0.03, `${actual}, not ${expected}`)

test('the share of a machine that begins to serve rises to that of the others', () => {
  const whole = (weight: number) => weight / (2 + weight)
  near(shareAfter(0), whole(SLOW_START_WEIGHT_MIN))
  near(shareAfter(SLOW_START_MS / 4), whole(0.25))
  near(shareAfter(SLOW_START_MS / 2), whole(0.5))
  near(shareAfter((SLOW_START_MS * 3) / 4), whole(0.75))
  near(shareAfter(SLOW_START_MS), whole(1))
  near(shareAfter(60 * SLOW_START_MS), whole(1))
})

test('on its own host too, which otherwise comes first; but no other region helps out', () => {
  let turn = 0
  const random = () => (turn++ % 97) / 97
  const machines = [
    machine('own', 'iad1', { upSinceMs: UP_MS, soft: 1e6 }),
    machine('other', 'iad2', { soft: 1e6 }),
    machine('far', 'lhr1', { soft: 1e6 }),
  ]
  const { balancer, route, clock } = setUp(machines, random)
  const shares = () => {
    const hits = Array.from({ length: 970 }, () => idOf(claim(balancer, route)))
    return ['own', 'far'].map((id) => hits.filter((hit) => hit === id).length / hits.length)
  }
  clock.now = UP_MS
  const [own, far] = shares()
  near(own!, SLOW_START_WEIGHT_MIN / (1 + SLOW_START_WEIGHT_MIN))
  assert.equal(far, 0)
  clock.now = UP_MS + SLOW_START_MS
  assert.deepEqual(shares(), [1, 0])
})

test('a clock that is a little ahead is borne with, one that is far ahead is not believed', () => {
  near(shareAfter(0, UP_MS + 1_000), SLOW_START_WEIGHT_MIN / (2 + SLOW_START_WEIGHT_MIN))
  near(shareAfter(0, UP_MS + 10 * SLOW_START_MS), 1 / 3)
})

test('when all are new they share alike, and the only one gets everything', () => {
  const all = ['a', 'b'].map((id) => machine(id, 'iad2', { upSinceMs: UP_MS }))
  let turn = 0
  const { balancer, route, clock } = setUp(all, () => (turn++ % 100) / 100)
  clock.now = UP_MS
  const hits = Array.from({ length: 200 }, () => idOf(claim(balancer, route)))
  near(hits.filter((id) => id === 'a').length / hits.length, 0.5)
  const alone = setUp([machine('a', 'iad2', { upSinceMs: UP_MS })])
  alone.clock.now = UP_MS
  assert.equal(idOf(claim(alone.balancer, alone.route)), 'a')
})
