import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { EdgeView, PortRoute } from '../../view/edge-view.ts'
import { SUSPECT_MS } from '../limits.ts'
import { type TestMachine, type TestService, testView } from '../testing.ts'
import { type Balancer, isRefusal, type Lease } from './balancer.ts'
import { nearestBalancer } from './nearest.ts'

const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'iad2', region: 'iad', index: 2 },
  { id: 'lhr1', region: 'lhr', index: 3 },
  { id: 'nrt1', region: 'nrt', index: 4 },
  { id: 'nrt2', region: 'nrt', index: 5, live: false },
]
const DISTANCES: Readonly<Record<string, number>> = { 'iad lhr': 75, 'iad nrt': 160 }

const machine = (
  id: string,
  host: string,
  service: Partial<TestService> = {},
  rest: Partial<TestMachine> = {},
): TestMachine => ({
  ...{ id, host, region: host.slice(0, 3), ...rest },
  services: [{ port: 80, internalPort: 8080, soft: 2, ...service }],
})

function setUp(machines: TestMachine[], random = () => 0) {
  const index = testView([{ name: 'hello', machines }], HOSTS)
  const view: EdgeView = {
    revision: 1,
    address: (address) => index.address(address),
    app: (name) => index.app(name),
    host: (id) => index.host(id),
    distanceMs: (a, b) => (a === b ? 0 : (DISTANCES[`${a} ${b}`] ?? 1e6)),
  }
  const route = view.app('hello')!.port('tcp', 80)!
  const clock = { now: 0 }
  const balancer = nearestBalancer({
    ...{ host: 'iad1', region: 'iad', view, random, now: () => clock.now },
  })
  return { balancer, route, clock }
}

function claim(balancer: Balancer, route: PortRoute, exclude: string[] = [], machine?: string) {
  return balancer.claim(route, { exclude: new Set(exclude), machine: machine ?? null })
}
const idOf = (claimed: ReturnType<Balancer['claim']>) =>
  isRefusal(claimed) ? claimed.refused : claimed.candidate.endpoint.machine

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
    lease.suspect()
    assert.equal(idOf(claim(balancer, route)), 'far')
    clock.now += SUSPECT_MS
    assert.equal(idOf(claim(balancer, route)), 'near')
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
    const chosen = new Set([claim(balancer, route), claim(balancer, route)].map(idOf))
    assert.ok(chosen.has('there') || chosen.has('here'))
    claim(balancer, route, ['there'])
    assert.equal(idOf(claim(balancer, route)), 'there')
  })

  test('another edge’s choice is this machine or nobody', () => {
    const { balancer, route } = setUp([machine('m', 'iad1', { hard: 1 }), machine('n', 'iad2')])
    assert.equal(idOf(claim(balancer, route, [], 'n')), 'none')
    assert.equal(idOf(claim(balancer, route, [], 'gone')), 'none')
    assert.equal(idOf(claim(balancer, route, [], 'm')), 'm')
    assert.equal(idOf(claim(balancer, route, [], 'm')), 'hard-limit')
  })
})
