import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { DOWN_MS, FULL_MS, SUSPECT_MS } from '../limits.ts'
import type { TestMachine } from '../testing.ts'
import { isRefusal, type Lease } from './balancer.ts'
import { bucketOf } from './loads.ts'
import { claim, DISTANCES, HOSTS, idOf, machine, setUp } from './testing.ts'

describe('who is chosen', () => {
  const far = machine('far', 'lhr1')
  const near = machine('near', 'iad2')
  const cases: readonly (readonly [string, TestMachine[], string])[] = [
    ['the nearest region', [machine('japan', 'nrt1'), far, near], 'near'],
    ['the next one when the nearest has none', [machine('japan', 'nrt1'), far], 'far'],
    ['a region that nobody set a distance to, rather than nobody', [machine('x', 'nrt1')], 'x'],
    ['the least loaded of a region', [machine('busy', 'iad2', { load: 1 }), near], 'near'],
    [
      'a loaded one nearby before an idle one far away (L4)',
      [machine('busy', 'iad2', { load: 1 }), far],
      'busy',
    ],
    [
      'another region when all nearby are at their limit (L4)',
      [machine('full', 'iad2', { load: 2 }), far],
      'far',
    ],
    ['a healthy one', [machine('sick', 'iad2', { healthy: false }), far], 'far'],
    ['a started one', [machine('off', 'iad2', {}, { state: 'stopped' }), far], 'far'],
    ['one without a cordon', [machine('cordoned', 'iad2', {}, { cordoned: true }), far], 'far'],
    [
      'a host that reports before one that does not',
      [machine('dark', 'nrt2'), machine('lit', 'nrt1')],
      'lit',
    ],
    ['a host that does not report, rather than nobody', [machine('dark', 'nrt2')], 'dark'],
    ['this host before others of its region', [near, machine('own', 'iad1')], 'own'],
    ['nobody: one is starting', [machine('off', 'iad2', {}, { state: 'restarting' })], 'starting'],
    ['nobody: one is sick', [machine('sick', 'iad2', { healthy: false })], 'down'],
    ['nobody: unavailable', [machine('off', 'iad2', {}, { state: 'stopped' })], 'unavailable'],
    ['nobody: all at their limit', [machine('full', 'iad2', { load: 2 })], 'hard-limit'],
  ]
  for (const [name, machines, chosen] of cases)
    test(name, () => {
      const { balancer, route } = setUp(machines)
      assert.equal(idOf(claim(balancer, route)), chosen)
      const { balancer: other, route: turned } = setUp([...machines].reverse())
      assert.equal(idOf(claim(other, turned)), chosen, 'in whatever order')
    })

  test('ties are at random, and evenly', () => {
    let seed = 1
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647
      return seed / 2_147_483_647
    }
    const ids = ['a', 'b', 'c']
    const { balancer, route } = setUp(
      ids.map((id) => machine(id, 'iad2')),
      random,
    )
    const counts = new Map<string, number>()
    for (let i = 0; i < 3_000; i++) {
      const id = idOf(claim(balancer, route))
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    for (const id of ids)
      assert.ok(Math.abs(counts.get(id)! - 1_000) < 120, JSON.stringify([...counts]))
  })

  test('those that were tried are left out; all tried: none', () => {
    const { balancer, route } = setUp([near, far])
    assert.equal(idOf(claim(balancer, route, ['near'])), 'far')
    assert.equal(idOf(claim(balancer, route, ['near', 'far'])), 'none')
  })

  test('one that failed is asked last for a while', () => {
    const { balancer, route, clock } = setUp([near, far])
    const lease = claim(balancer, route) as Lease
    lease.failed('unreached')
    assert.equal(idOf(claim(balancer, route)), 'far')
    assert.equal(idOf(claim(balancer, route, ['far'])), 'down')
    clock.now += DOWN_MS
    assert.equal(idOf(claim(balancer, route)), 'far')
    const again = claim(balancer, route, ['far']) as Lease
    assert.deepEqual([idOf(again), again.isDoubtful], ['near', true])
    clock.now += SUSPECT_MS
    assert.equal(idOf(claim(balancer, route)), 'near')
  })

  test('all machines of a host that cannot be reached are asked last for a while', () => {
    const there = [machine('a', 'iad2'), machine('b', 'iad2')]
    const { balancer, route, clock } = setUp([...there, machine('far', 'lhr1')])
    ;(claim(balancer, route) as Lease).failed('host-unreached')
    assert.equal(idOf(claim(balancer, route)), 'far')
    assert.match(idOf(claim(balancer, route, ['far'])), /a|b/)
    clock.now += SUSPECT_MS
    assert.match(idOf(claim(balancer, route)), /a|b/)
  })
})

describe('slots of this host’s machines', () => {
  test('are counted with the choice and given back once', () => {
    const { balancer, route } = setUp([machine('m', 'iad1', { hard: 2 })])
    const first = claim(balancer, route) as Lease
    assert.equal(first.via, null)
    assert.equal(idOf(claim(balancer, route)), 'm')
    assert.equal(idOf(claim(balancer, route)), 'hard-limit')
    first.release()
    first.release()
    assert.equal(idOf(claim(balancer, route)), 'm')
    assert.equal(idOf(claim(balancer, route)), 'hard-limit')
  })

  test('above the soft limit the next of the region is asked', () => {
    const machines = [machine('here', 'iad1', { soft: 1 }), machine('there', 'iad2')]
    const { balancer, route } = setUp(machines)
    assert.deepEqual([claim(balancer, route), claim(balancer, route)].map(idOf), ['here', 'there'])
  })

  test('the host says why another edge may not have its machine', () => {
    const cases: readonly (readonly [string, TestMachine])[] = [
      ['not-started', machine('m', 'iad1', {}, { state: 'stopped' })],
      ['cordoned', machine('m', 'iad1', {}, { cordoned: true })],
      ['unhealthy', machine('m', 'iad1', { healthy: false })],
    ]
    for (const [reason, only] of cases) {
      const { balancer, route } = setUp([only])
      assert.equal(idOf(claim(balancer, route, [], 'm')), reason)
    }
  })

  test('another edge’s choice is this machine or nobody', () => {
    const { balancer, route } = setUp([machine('m', 'iad1', { hard: 1 }), machine('n', 'iad2')])
    assert.equal(idOf(claim(balancer, route, [], 'n')), 'not-here')
    assert.equal(idOf(claim(balancer, route, [], 'gone')), 'not-here')
    assert.equal(idOf(claim(balancer, route, [], 'm')), 'm')
    assert.equal(idOf(claim(balancer, route, [], 'm')), 'hard-limit')
  })
})

describe('machines of other hosts that are full', () => {
  test('are left out for a moment when their host says so', () => {
    const { balancer, route, clock } = setUp([machine('near', 'iad2'), machine('far', 'lhr1')])
    const lease = claim(balancer, route) as Lease
    lease.failed('full')
    assert.equal(idOf(claim(balancer, route)), 'far')
    clock.now += FULL_MS
    assert.equal(idOf(claim(balancer, route)), 'near')
  })

  test('are asked all the same by one that waits, when nobody else is left', () => {
    const full = machine('full', 'iad2', { load: 2 })
    const probe = { exclude: null, machine: null, probe: 'any' as const }
    const { balancer, route } = setUp([full])
    assert.equal(idOf(balancer.claim(route, probe)), 'full')
    assert.equal(idOf(balancer.claim(route, { ...probe, probe: { machine: 'full' } })), 'full')
    assert.equal(idOf(balancer.claim(route, { ...probe, probe: { machine: 'x' } })), 'hard-limit')
    const own = setUp([machine('own', 'iad1', { hard: 0 })])
    assert.equal(idOf(own.balancer.claim(own.route, probe)), 'hard-limit', 'own counts are exact')
    const more = setUp([full, machine('far', 'lhr1', { load: 1 })])
    assert.equal(idOf(more.balancer.claim(more.route, probe)), 'far')
  })
})

/** S28-S30, as the concurrency page tells it: soft 20, hard 25, three machines here, two far away. */
describe('soft and hard limits fill a region before the next', () => {
  const limits = { soft: 2, hard: 3 }
  const machines = [
    ...['a', 'b', 'c'].map((id) => machine(id, 'iad1', limits)),
    ...['x', 'y'].map((id) => machine(id, 'lhr1')),
  ]
  const cases: readonly (readonly [number, string])[] = [
    [1, 'one of the idle ones'],
    [6, 'all at their soft limit'],
    [7, 'above it, still here'],
    [9, 'all at their hard limit'],
    [10, 'the first that goes abroad'],
    [20, 'and all that follow'],
  ]
  for (const [n, name] of cases)
    test(`${n}: ${name}`, () => {
      const { balancer, route } = setUp(machines, Math.random)
      const counts = new Map<string, number>()
      for (let i = 0; i < n; i++) {
        const id = idOf(claim(balancer, route))
        counts.set(id, (counts.get(id) ?? 0) + 1)
      }
      const here = ['a', 'b', 'c'].map((id) => counts.get(id) ?? 0)
      const total = here.reduce((a, b) => a + b)
      assert.equal(total, Math.min(n, 9))
      // Nobody is above its soft limit while another is below its own.
      assert.ok(Math.max(...here) <= 2 || Math.min(...here) >= 2, String(here))
      assert.ok(Math.max(...here) <= 3, String(here))
    })
})

test('property: whoever qualifies is chosen, nearest and least loaded; no limit is passed', () => {
  const machines = fc.array(
    fc.record({
      host: fc.constantFrom(...HOSTS.map(({ id }) => id)),
      state: fc.constantFrom('started', 'started', 'started', 'stopped', 'restarting'),
      cordoned: fc.constantFrom(false, false, false, true),
      healthy: fc.constantFrom(true, true, true, false),
      load: fc.constantFrom<0 | 1 | 2>(0, 0, 1, 2),
      soft: fc.integer({ min: 0, max: 3 }),
      hard: fc.option(fc.integer({ min: 0, max: 4 })),
      excluded: fc.boolean(),
    }),
    { minLength: 1, maxLength: 6 },
  )
  const steps = fc.array(fc.constantFrom('claim', 'claim', 'claim', 'release'), { maxLength: 30 })
  fc.assert(
    fc.property(
      machines,
      steps,
      fc.infiniteStream(fc.double({ min: 0, max: 0.999 })),
      (...args) => {
        const [list, todo, randoms] = args
        const { balancer, route } = setUp(
          list.map(({ host, state, cordoned, excluded: _, ...service }, i) =>
            machine(`m${i}`, host, service, { state, cordoned }),
          ),
          () => randoms.next().value!,
        )
        const exclude = list.flatMap(({ excluded }, i) => (excluded ? [`m${i}`] : []))
        const held: Lease[] = []
        const inflight = (i: number) =>
          held.filter(({ candidate }) => candidate.endpoint.machine === `m${i}`).length
        const bucket = (i: number) => {
          const { host, load, soft, hard } = list[i]!
          return host === 'iad1' ? bucketOf(inflight(i), { soft, hard }) : load
        }
        const rank = (i: number) => {
          const { host } = list[i]!
          const { live = true, region } = HOSTS.find(({ id }) => id === host)!
          const distance = region === 'iad' ? 0 : DISTANCES[`iad ${region}`]!
          return [live ? 0 : 1, distance, bucket(i), host === 'iad1' ? 0 : 1]
        }
        for (const step of todo) {
          if (step === 'release') {
            held.pop()?.release()
            continue
          }
          const qualified = list.flatMap(({ state, cordoned, healthy, excluded }, i) =>
            state === 'started' && !cordoned && healthy && !excluded && bucket(i) < 2 ? [i] : [],
          )
          const claimed = claim(balancer, route, exclude)
          if (isRefusal(claimed)) {
            assert.deepEqual(qualified, [])
            continue
          }
          const chosen = Number(claimed.candidate.endpoint.machine.slice(1))
          assert.ok(qualified.includes(chosen))
          for (const other of qualified)
            assert.ok(
              compareRanks(rank(chosen), rank(other)) <= 0,
              `m${chosen} ${rank(chosen)} before m${other} ${rank(other)}`,
            )
          held.push(claimed)
          const { host, hard } = list[chosen]!
          assert.ok(host !== 'iad1' || hard === null || inflight(chosen) <= hard)
        }
      },
    ),
    { seed: Number(process.env.FAIRWAY_SEED ?? Date.now() % 2 ** 31) },
  )
})

function compareRanks(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : a[at]! - b[at]!
}
