import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type AdviceAddress, type AdviceMachine, egressAdvice } from './egress-advice.ts'

const pairs = (n: number, regions = ['iad'], more: Partial<AdviceAddress> = {}) =>
  Array.from({ length: n }, () =>
    [4, 6].map((version) => ({ version, regions, kept: false, machines: [], ...more })),
  ).flat()
const machines = (n: number, region = 'iad'): AdviceMachine[] =>
  Array.from({ length: n }, (_, i) => ({ id: `${region}-${i}`, region }))
const advice = (addresses: AdviceAddress[], list: AdviceMachine[], strategy?: string) =>
  egressAdvice({ app: 'shop', addresses, machines: list, strategy })

test('silent without addresses, and where there is room', () => {
  assert.deepEqual(advice([], machines(500)), [])
  assert.deepEqual(advice(pairs(1), machines(40)), [])
  assert.deepEqual(advice(pairs(1), machines(32), 'bluegreen'), [])
  assert.deepEqual(advice(pairs(2), machines(80)), [])
})

test('the thresholds: 40, 64, and 32 under bluegreen', () => {
  assert.match(advice(pairs(1), machines(41)).join(), /41 machines in iad .* room for 23 more/)
  assert.match(advice(pairs(1), machines(64)).join(), /room for 0 more/)
  assert.match(advice(pairs(1), machines(65)).join(), /enough for 64. Allocate at least 1 more/)
  assert.match(advice(pairs(1), machines(129)).join(), /enough for 64. Allocate at least 2 more/)
  assert.match(advice(pairs(1), machines(33), 'bluegreen').join(), /needs at least 1 more/)
  assert.match(advice(pairs(1), machines(65), 'bluegreen').join(), /enough for 64/)
  // One line for each family.
  assert.equal(advice(pairs(1), machines(41)).length, 2)
})

test('families that do not match', () => {
  const [v4, v6] = pairs(1) as [AdviceAddress, AdviceAddress]
  assert.match(advice([v4], machines(1)).join(), /egress IPv4 in iad but no egress IPv6/)
  assert.match(advice([v6], machines(1)).join(), /egress IPv6 in iad but no egress IPv4/)
  assert.match(advice([v4, v4, v6], machines(1)).join(), /2 egress IPv4 and 1 egress IPv6/)
})

test('regions with only the one or the other', () => {
  const lines = advice([...pairs(1), ...pairs(1, ['lhr'])], [...machines(1), ...machines(1, 'nrt')])
  assert.equal(lines.length, 2)
  assert.match(lines[0]!, /egress addresses in lhr but no machines there/)
  assert.match(
    lines[1]!,
    /machines in nrt but no egress address there, while it has some in iad, lhr/,
  )
})

test('regions that share an address share its room', () => {
  const shared = pairs(1, ['iad', 'lhr'])
  assert.deepEqual(advice(shared, machines(1, 'lhr')), [])
  const both = [...machines(35), ...machines(35, 'lhr')]
  assert.match(advice(shared, both).join(), /70 machines in iad, lhr and 1 egress IPv4/)
  assert.deepEqual(advice([...shared, ...pairs(1)], both), [])
})

test('an address that is kept for some is no room for the others', () => {
  const kept = pairs(1, ['iad'], { kept: true, machines: ['iad-0', 'iad-1'] })
  assert.match(
    advice([...pairs(1), ...kept], machines(43)).join(),
    /41 machines in iad and 1 egress/,
  )
  assert.deepEqual(advice([...pairs(1), ...kept], machines(42)), [])
})

test('never more lines than regions and families explain, and the same whatever the order', () => {
  const code = fc.constantFrom('iad', 'lhr', 'nrt', 'sin')
  const address = fc.record({
    version: fc.constantFrom(4, 6),
    regions: fc.uniqueArray(code, { minLength: 1 }),
    kept: fc.boolean(),
    machines: fc.constant([] as string[]),
  })
  const machine = fc.record({ id: fc.uuid(), region: code })
  fc.assert(
    fc.property(fc.array(address), fc.array(machine), (addresses, list) => {
      const lines = advice(addresses, list)
      assert.ok(lines.length <= 4 * 3)
      assert.deepEqual(advice(addresses.toReversed(), list.toReversed()), lines)
    }),
  )
})
