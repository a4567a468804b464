import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Block, blockRules, portsOf } from './blocks.ts'
import type { SlotOwner } from './egress-table.ts'
import {
  blocksOf,
  type Elements,
  elementsOf,
  ownerElements,
  planElements,
  planRepair,
  type Source,
  sourcesOf,
} from './elements.ts'
import { wantedSources } from './machine-sources.ts'

/** What the kernel does with the commands: refuses what is there already, and what is not. */
function kernel(observed: Elements, commands: readonly string[]): Map<string, string> {
  const elements = new Map(observed)
  for (const command of commands) {
    const [, verb, set, list] = /^(add|delete) element inet egress (\S+) \{ (.*) \}$/.exec(command)!
    for (const text of list!.split(', ')) {
      const [key, data] = text.split(' : ')
      const name = `${set} ${key}`
      assert.equal(elements.has(name), verb === 'delete', `${command}: ${name}`)
      if (verb === 'delete') elements.delete(name)
      else elements.set(name, data!)
    }
  }
  return elements
}

const block: fc.Arbitrary<Block> = fc
  .record({ slot: fc.nat(63), count: fc.integer({ min: 1, max: 4 }) }, { noNullPrototype: true })
  .filter(({ slot, count }) => slot + count <= 64)

const sources: fc.Arbitrary<Map<string, Source>> = fc
  .uniqueArray(
    fc.record({
      host: fc.nat(6),
      v6: fc.boolean(),
      source: fc.option(fc.nat(3)),
      block: fc.option(block),
      kept: fc.uniqueArray(fc.integer({ min: 4, max: 6 }), { maxLength: 2 }),
    }),
    { selector: ({ host, v6 }) => `${host} ${v6}`, maxLength: 8 },
  )
  .map(
    (rows) =>
      new Map(
        rows.map(({ host, v6, source, block: b, kept }): [string, Source] => {
          const at = (n: number) => (v6 ? `2001:db8:e001::${n + 1}` : `198.51.100.${n + 1}`)
          return [
            v6 ? `fdaa:0:1:a7b::${host + 1}` : `172.16.0.${host}`,
            {
              address: source === null ? null : at(source),
              block: source === null ? null : b,
              kept: kept.map(at),
            },
          ]
        }),
      ),
  )

const allElements = (all: ReadonlyMap<string, Source>): Map<string, string> =>
  new Map([...all].flatMap(([address, source]) => elementsOf(address, source)))

test('from any elements to any others, by commands that the kernel takes', () => {
  fc.assert(
    fc.property(sources, sources, (before, after) => {
      const [observed, desired] = [allElements(before), allElements(after)]
      const reached = kernel(observed, planElements(desired, observed))
      assert.deepEqual(new Map([...reached].sort()), new Map([...desired].sort()))
      assert.deepEqual(planElements(desired, reached), [])
    }),
    { verbose: true },
  )
})

test('the kernel’s elements say what they were made from; halves stand for nothing', () => {
  fc.assert(
    fc.property(sources, fc.nat(100), (all, lost) => {
      const elements = allElements(all)
      const read = sourcesOf(elements)
      for (const [address, source] of all)
        assert.deepEqual(
          { ...read.get(address), kept: read.get(address)!.kept.toSorted() },
          { ...source, kept: source.kept.filter((k) => k !== source.address).toSorted() },
        )
      const gone = [...elements.keys()].filter((key) => /^(gate|addr)/.test(key))[lost]
      if (gone === undefined) return
      elements.delete(gone)
      const address = gone.split(' ')[1]!
      const closed = all.get(address)!.address === null
      assert.equal(sourcesOf(elements).has(address), closed && gone.startsWith('addr'))
    }),
    { verbose: true },
  )
})

test('owners: each slot has one, whatever is claimed; the last claim counts', () => {
  const owner: fc.Arbitrary<SlotOwner> = fc
    .record({ of: fc.nat(3), b: block, hostIndex: fc.integer({ min: 1, max: 256 }) })
    .map(({ of, b, hostIndex }) => ({
      address: of % 2 ? `198.51.100.${of}` : `2001:db8:e001::${of}`,
      ...b,
      hostIndex,
    }))
  fc.assert(
    fc.property(fc.array(owner, { maxLength: 12 }), fc.array(owner, { maxLength: 12 }), (a, b) => {
      const [before, after] = [ownerElements(a), ownerElements(b)]
      const expected = new Map<string, number>()
      for (const { address, slot, count, hostIndex } of b)
        for (let s = slot; s < slot + count; s++) expected.set(`${address} . ${s}`, hostIndex)
      assert.equal(after.size, expected.size)
      for (const [key, data] of after)
        assert.equal(Number(data) & 0xffff, expected.get(key.slice(key.indexOf(' ') + 1)))
      assert.deepEqual(
        new Map([...kernel(before, planElements(after, before))].sort()),
        new Map([...after].sort()),
      )
    }),
    { verbose: true },
  )
  assert.throws(
    () => ownerElements([{ address: 'x', slot: 0, count: 1, hostIndex: 1 }]),
    /egress: x/,
  )
})

test('blocks: 64 slots, each port once, port 0 never', () => {
  const all = Array.from({ length: 64 }, (_, slot) => portsOf({ slot, count: 1 }))
  assert.deepEqual(
    [all[0], all[1], all[63]],
    [
      { low: 1, high: 1_023, count: 1_023 },
      { low: 1_024, high: 2_047, count: 1_024 },
      { low: 64_512, high: 65_535, count: 1_024 },
    ],
  )
  assert.equal(
    all.reduce((sum, { count }) => sum + count, 0),
    65_535,
  )
  assert.deepEqual(portsOf({ slot: 0, count: 64 }), { low: 1, high: 65_535, count: 65_535 })
  const rules = [...blockRules({ slot: 0, count: 2 }).values()].flat().join('\n')
  assert.match(rules, /ct count over 2047 \} goto over_limit/)
  assert.match(rules, /ct count over 2046 \} goto block_full/)
  assert.match(rules, /snat ip6 to ip6 saddr map @addr6 : 1-2047/)
})

test('sources of a machine: static, default, a family that is closed', () => {
  const host = { hostV4: '192.0.2.1', hostV6: '2001:DB8::1' }
  const m = { v4: '172.16.0.255', v6: 'FDAA:0:1::2', egress: null, publicV6: null }
  assert.deepEqual(
    [...wantedSources(m, host)],
    [
      ['172.16.0.255', { address: '192.0.2.1', block: null, kept: [] }],
      ['172.16.1.0', { address: '192.0.2.1', block: null, kept: [] }],
      ['fdaa:0:1::2', { address: '2001:db8::1', block: null, kept: [] }],
    ],
  )
  const egress = { pair: 'p', v4: '198.51.100.2', v6: null, slot: 3, count: 2 }
  const wanted = wantedSources({ ...m, egress, publicV6: '2001:db8::9' }, host)
  assert.deepEqual(wanted.get('fdaa:0:1::2'), { address: null, block: null, kept: [] })
  assert.deepEqual(wanted.get('172.16.1.0')!.block, { slot: 3, count: 2 })
  for (const [field, value] of [
    ['v4', '::1'],
    ['v6', '10.0.0.1'],
    ['v6', 'x'],
  ] as const)
    assert.throws(
      () => wantedSources({ ...m, [field]: value }, host),
      new RegExp(`${field} ${value}`),
    )
})

test('repair: leftovers are no damage; a chain that was right and is not is', () => {
  const all = new Map([['172.16.0.2', { address: 'a', block: { slot: 3, count: 1 }, kept: [] }]])
  const elements = allElements(all)
  const desired = { elements, blocks: blocksOf(elements) }
  const chains = new Map([
    ['use_3_1', 'right'],
    ['nat_3_1', 'right'],
  ])
  assert.deepEqual(planRepair(desired, { elements, chains }, chains), {
    commands: [],
    isDamaged: false,
  })
  const stray = new Map([...chains, ['use_9_1', '']])
  assert.deepEqual(planRepair(desired, { elements, chains: stray }, chains), {
    commands: ['delete chain inet egress use_9_1'],
    isDamaged: false,
  })
  assert.equal(planRepair(desired, { elements, chains }, new Map()).isDamaged, false, 'new ones')
  for (const damage of [new Map([['use_3_1', 'right']]), new Map([...chains, ['nat_3_1', 'drop']])])
    assert.equal(planRepair(desired, { elements, chains: damage }, chains).isDamaged, true)
  assert.equal(planRepair(desired, { elements: new Map(), chains }, chains).isDamaged, true)
})
