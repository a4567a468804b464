import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import * as limits from '../limits.ts'
import { isRefusal, type Lease } from './balancer.ts'
import { Steering } from './steering.ts'
import { claim, idOf, machine, setUp } from './testing.ts'

const ids = (n: number) => Array.from({ length: n }, (_, i) => `m${i}`)

/** Requests to machines of one region, each answered as `fails` says. */
function setUpMachines(n: number, service = {}) {
  let seed = 3
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed / 2_147_483_647
  }
  const { balancer, route, clock } = setUp(
    ids(n).map((id) => machine(id, 'iad2', service)),
    random,
  )
  clock.now = 1_000_000
  const request = (fails: (id: string) => boolean, more = {}): string => {
    const lease = claim(balancer, route, [], undefined, more) as Lease
    const id = idOf(lease)
    if (fails(id)) lease.failed('broke')
    else lease.succeeded()
    lease.release()
    return id
  }
  const shares = (requests: number, fails: (id: string) => boolean) => {
    const counts: Record<string, number> = {}
    for (let i = 0; i < requests; i++) {
      const id = request(fails)
      counts[id] = (counts[id] ?? 0) + 1
    }
    return counts
  }
  return { balancer, route, clock, request, shares }
}

const never = () => false
const always = () => true
const only =
  (...bad: string[]) =>
  (id: string) =>
    bad.includes(id)

describe('a machine that fails requests', () => {
  test('is left out after some in a row, and asked again later', () => {
    const { shares, clock } = setUpMachines(3)
    const { m0 } = shares(1_000, only('m0'))
    assert.equal(m0, limits.EJECT_FAILURES_IN_A_ROW)
    clock.now += limits.EJECT_MS
    assert.ok(shares(1_000, never).m0! > 200)
  })

  test('is left out for longer each time, and needs to fail once only', () => {
    const { shares, clock } = setUpMachines(3)
    const bad = only('m0')
    shares(1_000, bad)
    for (let i = 0, ms = limits.EJECT_MS; i < 10; i++) {
      clock.now += ms - 1
      assert.equal(shares(100, bad).m0, undefined, `still out after ${ms} ms`)
      clock.now += 1
      assert.equal(shares(1_000, bad).m0, 1, 'one more to see whether it is well')
      ms = Math.min(2 * ms, limits.EJECT_MS_MAX)
    }
  })

  test('is out for the first time again when it has been well for long', () => {
    const { shares, clock } = setUpMachines(3)
    for (let i = 0; i < 5; i++) {
      shares(1_000, only('m0'))
      clock.now += limits.EJECT_MS_MAX
    }
    shares(1_000, never)
    clock.now += limits.EJECT_MS_MAX + limits.EJECT_MEMORY_MS
    shares(1_000, only('m0'))
    clock.now += limits.EJECT_MS
    assert.ok(shares(1_000, never).m0! > 200)
  })

  test('is left out when half of its requests fail, though never some in a row', () => {
    const { shares } = setUpMachines(3)
    let n = 0
    const { m0 } = shares(1_000, (id) => id === 'm0' && n++ % 3 > 0)
    assert.ok(m0! < 2 * limits.EJECT_REQUESTS_MIN, `${m0}`)
  })

  test('is kept when fewer fail', () => {
    const { shares } = setUpMachines(3)
    let n = 0
    const { m0 } = shares(3_000, (id) => id === 'm0' && n++ % 3 === 0)
    assert.ok(m0! > 800, `${m0}`)
  })

  test('is kept when it is the only one', () => {
    const { shares } = setUpMachines(1)
    assert.equal(shares(100, always).m0, 100)
  })

  test('is kept when its peers fail as well: it is not the machine', () => {
    const { shares } = setUpMachines(4)
    const counts = shares(2_000, always)
    for (const id of ids(4)) assert.ok(counts[id]! > 300, JSON.stringify(counts))
  })

  test('is kept when clients chose it: who may name a machine must not throw it out', () => {
    const { request } = setUpMachines(3)
    const steering = new Steering({ preferredMachine: 'm0' })
    for (let i = 0; i < 100; i++) assert.equal(request(always, { steering }), 'm0')
  })

  test('is kept when their cookies chose it: they show what they like', () => {
    const { request } = setUpMachines(3)
    const steering = new Steering({})
    steering.stickyMachine = 'm0'
    for (let i = 0; i < 100; i++) assert.equal(request(always, { steering }), 'm0')
  })

  test('is left out when it has taken the place of the one in the cookie', () => {
    const { request, shares } = setUpMachines(3)
    const steering = new Steering({})
    steering.stickyMachine = 'gone'
    for (let i = 0; i < 100; i++) request(only('m0'), { steering })
    assert.equal(shares(100, only('m0')).m0, undefined)
  })

  test('is asked when nobody else is left', () => {
    const { shares, balancer, route } = setUpMachines(2)
    shares(1_000, only('m0'))
    assert.equal(idOf(claim(balancer, route, ['m1'])), 'm0')
  })

  test('does not come in because the others are at their limit: that passes', () => {
    const { balancer, route } = setUp([
      machine('bad', 'iad1', { soft: 1, hard: 1 }),
      machine('good', 'iad1', { soft: 1, hard: 1 }),
    ])
    for (let i = 0; i < limits.EJECT_FAILURES_IN_A_ROW; i++) {
      const lease = claim(balancer, route, ['good']) as Lease
      lease.failed('broke')
      lease.release()
    }
    const held = claim(balancer, route) as Lease
    assert.equal(idOf(held), 'good')
    assert.equal(idOf(claim(balancer, route)), 'hard-limit')
    held.release()
    assert.equal(idOf(claim(balancer, route)), 'good')
  })
})

test('a host that only serves what another edge has chosen leaves the judgement to that one', () => {
  const { balancer, route } = setUp([machine('own', 'iad1'), machine('other', 'iad2')])
  for (let i = 0; i < 100; i++) {
    const lease = claim(balancer, route, [], 'own') as Lease
    lease.failed('broke')
    lease.release()
  }
  assert.equal(idOf(claim(balancer, route)), 'own')
})

test('whatever fails: at least half of the machines are asked, and somebody always', () => {
  const machines = fc.integer({ min: 1, max: 9 })
  const outcome = fc.record({ machine: fc.nat(8), fails: fc.boolean(), afterMs: fc.nat(3_000) })
  fc.assert(
    fc.property(machines, fc.array(outcome, { maxLength: 400 }), (n, outcomes) => {
      const { balancer, route, clock } = setUpMachines(n, { soft: 1_000 })
      for (const { machine: at, fails, afterMs } of outcomes) {
        clock.now += afterMs
        const others = ids(n).filter((_, i) => i !== at % n)
        const lease = claim(balancer, route, others) as Lease
        if (fails) lease.failed('broke')
        else lease.succeeded()
        lease.release()
        const asked = new Set<string>()
        for (;;) {
          const next = claim(balancer, route, [...asked])
          if (isRefusal(next)) break
          asked.add(idOf(next))
          next.release()
        }
        assert.equal(asked.size, n, 'each is asked when the ones before have failed')
      }
      const first = new Set<string>()
      for (let i = 0; i < 60 * n; i++) {
        const lease = claim(balancer, route) as Lease
        first.add(idOf(lease))
        lease.release()
      }
      assert.ok(2 * first.size >= n, `${first.size} of ${n}`)
    }),
    { numRuns: 50 },
  )
})
