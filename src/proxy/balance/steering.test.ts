import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ROUTING_NAMES_MAX } from '../limits.ts'
import { testView } from '../testing.ts'
import { RegionOrder } from './region-order.ts'
import { RANKS_MAX, Steering } from './steering.ts'
import { claim, idOf, machine, setUp } from './testing.ts'

const near = machine('near', 'iad2')
const far = machine('far', 'lhr1')
const japan = machine('japan', 'nrt1')

describe('an order of regions', () => {
  const view = testView([])
  const ranks = (list: string) => {
    const order = RegionOrder.parse(list, view)
    return order && ['iad', 'yyz', 'lhr', 'nrt'].map((code) => order.rank(code)).join(' ')
  }
  for (const [list, expected] of [
    ['iad', '0 1 1 1'],
    ['lhr,iad', '1 2 0 2'],
    [' LHR , iad ', '1 2 0 2'],
    ['lhr,any', '1 1 0 1'],
    ['na', '0 0 1 1'],
    ['us', '0 1 1 1'],
    ['usa,na', '0 1 2 2'],
    ['eu,apac', '2 2 0 1'],
    ['xyz,nrt', '1 1 1 0'],
    ['sa', '1 1 1 1'],
    ['nrt,nrt', '2 2 2 0'],
  ] as const)
    test(list, () => assert.equal(ranks(list), expected))
  for (const list of ['', ',', 'xyz', 'iad lhr', '"iad"', '__proto__', 'constructor'])
    test(`${list || 'nothing'}: none`, () => assert.equal(ranks(list), null))

  test('more names than are read', () => {
    const order = RegionOrder.parse(`${'iad,'.repeat(ROUTING_NAMES_MAX)}lhr`, view)!
    assert.deepEqual(order.names, Array(ROUTING_NAMES_MAX).fill('iad'))
  })

  test('a region that is there and that nobody knows is last', () => {
    assert.equal(RegionOrder.parse('any', view)!.rank('mars'), 1)
  })
})

describe('who is chosen', () => {
  const of = (
    wanted: { prefer?: string; force?: string; machine?: string; forced?: string },
    machines = [near, far, japan],
    exclude: string[] = [],
  ) => {
    const { balancer, route, view } = setUp(machines)
    const list = wanted.force ?? wanted.prefer
    const steering = new Steering({
      regions: list === undefined ? null : RegionOrder.parse(list, view),
      onlyRegions: wanted.force !== undefined,
      preferredMachine: wanted.machine,
      forcedMachine: wanted.forced,
    })
    return idOf(claim(balancer, route, exclude, undefined, { steering }))
  }
  const sick = machine('sick', 'iad1', { healthy: false })
  const full = machine('full', 'nrt1', { load: 2 })

  test('R27: the first region of the list, then the next, then the nearest', () => {
    assert.equal(of({ prefer: 'nrt,lhr' }), 'japan')
    assert.equal(of({ prefer: 'nrt,lhr' }, [near, far]), 'far')
    assert.equal(of({ prefer: 'nrt,lhr' }, [near]), 'near')
    assert.equal(of({ prefer: 'nrt,lhr' }, [near, far, japan], ['japan']), 'far')
    assert.equal(of({ prefer: 'nrt' }, [near, far, full]), 'near')
  })

  test('R28: no other region than those of the list', () => {
    assert.equal(of({ force: 'nrt,lhr' }), 'japan')
    assert.equal(of({ force: 'nrt,lhr' }, [near, far]), 'far')
    assert.equal(of({ force: 'nrt,lhr' }, [near]), 'none')
    assert.equal(of({ force: 'nrt' }, [near, full]), 'hard-limit')
  })

  test('R29: the machine, or any other', () => {
    assert.equal(of({ machine: 'japan' }), 'japan')
    assert.equal(of({ machine: 'full' }, [near, full]), 'near')
    assert.equal(of({ machine: 'sick' }, [near, sick]), 'near')
    assert.equal(of({ machine: 'gone' }), 'near')
    assert.equal(of({ machine: 'japan' }, [near, japan], ['japan']), 'near')
    assert.equal(of({ machine: 'gone', prefer: 'lhr' }), 'far')
    assert.equal(of({ machine: 'near', force: 'lhr' }), 'far', 'within what is forced')
  })

  test('R30: that machine, also when a check fails, and no other', () => {
    assert.equal(of({ forced: 'sick' }, [near, sick]), 'sick')
    assert.equal(of({ forced: 'full' }, [near, full]), 'hard-limit')
    assert.equal(of({ forced: 'gone' }), 'none')
    const off = machine('off', 'iad1', {}, { state: 'stopped' })
    assert.equal(of({ forced: 'off' }, [near, off]), 'unavailable')
    const cordoned = machine('cordoned', 'iad1', {}, { cordoned: true })
    assert.equal(of({ forced: 'cordoned' }, [near, cordoned]), 'unavailable')
  })

  test('R30: its host is told, and does not mind the checks either', () => {
    const { balancer, route } = setUp([sick])
    const steering = new Steering({ forcedMachine: 'sick' })
    assert.equal(idOf(claim(balancer, route, [], 'sick')), 'unhealthy')
    assert.equal(idOf(claim(balancer, route, [], 'sick', { steering })), 'sick')
  })

  test('whatever is preferred, it is served when anybody can serve', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('iad', 'lhr', 'nrt', 'eu', 'apac', 'any', 'xyz'), {
          maxLength: 20,
        }),
        fc.constantFrom('', 'near', 'far', 'japan', 'other'),
        fc.subarray([near, far, japan, sick, full], { minLength: 1 }),
        (regions, wanted, machines) => {
          const chosen = of({ prefer: regions.join(), machine: wanted }, machines)
          const serving = machines.filter(
            ({ services: [s] }) => s!.healthy !== false && s!.load !== 2,
          )
          if (serving.length > 0) assert.ok(serving.some(({ id }) => id === chosen))
          else assert.ok(['none', 'down', 'hard-limit'].includes(chosen))
        },
      ),
    )
  })
})

test('ranks stay below their bound', () => {
  const view = testView([])
  const regions = RegionOrder.parse('iad,'.repeat(ROUTING_NAMES_MAX), view)
  const steering = new Steering({ regions, preferredMachine: 'other' })
  steering.stickyMachine = 'another'
  steering.release = 7
  const { route } = setUp([far])
  assert.ok(steering.rank(route.candidates[0]!.endpoint) < RANKS_MAX)
})

test('those who can go anywhere wait in one line, others in one of their own', () => {
  const regions = RegionOrder.parse('lhr,eu', testView([]))
  assert.equal(new Steering({ regions, preferredMachine: 'm' }).lane, '')
  assert.equal(new Steering({ regions, onlyRegions: true }).lane, 'region lhr, eu')
  assert.equal(new Steering({ forcedMachine: 'm', regions, onlyRegions: true }).lane, 'machine m')
})
