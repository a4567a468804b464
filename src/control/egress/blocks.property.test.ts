import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EGRESS_SLOTS, type EgressBlock } from '../../model/resources.ts'
import {
  findRun,
  longestFreeRun,
  portsOf,
  resizeInPlace,
  settledOn,
  usedSlots,
  withoutMachine,
  withRun,
} from './blocks.ts'
import { checkBlocks } from './testing.ts'

const seed = process.env.FAIRWAY_SEED ? { seed: Number(process.env.FAIRWAY_SEED) } : {}
const owner = (machine: string) => ({ machine, host: 'iad1' })
const check = (blocks: EgressBlock[]) => checkBlocks([{ id: 'p', blocks } as never])
const inUse = (blocks: readonly EgressBlock[], machine: string) =>
  blocks.filter((block) => block.machine === machine && block.state === 'use')

test('ports of a run: 1,024 for each slot, but for port 0', () => {
  assert.deepEqual(portsOf({ slot: 0, count: 1 }), { from: 1, to: 1_023 })
  assert.deepEqual(portsOf({ slot: 1, count: 1 }), { from: 1_024, to: 2_047 })
  assert.deepEqual(portsOf({ slot: 62, count: 2 }), { from: 63_488, to: 65_535 })
})

test('machines that come, grow, shrink, move and go never share a slot', () => {
  const step = fc.record({
    machine: fc.constantFrom('a', 'b', 'c', 'd'),
    do: fc.constantFrom('move', 'resize', 'go', 'drained'),
    count: fc.integer({ min: 1, max: 40 }),
  })
  const property = fc.property(
    fc.array(step, { maxLength: 40 }),
    fc.infiniteStream(fc.nat(999)),
    (steps, chances) => {
      const random = () => chances.next().value! / 1_000
      let blocks: EgressBlock[] = []
      for (const { machine, do: what, count } of steps) {
        if (what === 'go') blocks = withoutMachine(blocks, machine)
        if (what === 'drained') blocks = blocks.filter((block) => block.state === 'use')
        const [own] = inUse(blocks, machine)
        const free = longestFreeRun(blocks)
        const run =
          what === 'move'
            ? findRun(blocks, count, [8080], random)
            : own && resizeInPlace(blocks, own, count)
        if (what === 'move') assert.equal(run !== undefined, free >= count)
        if ((what !== 'move' && what !== 'resize') || !run) continue
        assert.equal(run.count, count)
        const before = usedSlots(blocks)
        // First phase: the new slots are there, and none of the old is lost.
        blocks = withRun(blocks, owner(machine), run)
        check(blocks)
        assert.ok(usedSlots(blocks) >= before)
        if (own)
          assert.ok(
            inUse(blocks, machine).some(
              (b) => b.slot <= own.slot && own.slot + own.count <= b.slot + b.count,
            ),
          )
        const both = usedSlots(blocks)
        // Second phase: exactly the run is in use; the rest drains.
        blocks = settledOn(blocks, machine, run)
        check(blocks)
        assert.equal(usedSlots(blocks), both)
        assert.deepEqual(
          inUse(blocks, machine).map(({ slot, count }) => ({ slot, count })),
          [run],
        )
      }
    },
  )
  fc.assert(property, { numRuns: 300, ...seed })
})

test('a block avoids slot 0 first, then slots in which its machine listens', () => {
  const busy = (slot: number, count: number): EgressBlock => ({
    slot,
    count,
    ...owner('x'),
    state: 'use',
  })
  const first = () => 0
  assert.equal(findRun([], 1, [], first)!.slot, 1)
  // 8080 is in slot 7, 1024 in slot 1.
  assert.equal(findRun([], 1, [1024, 8080], first)!.slot, 2)
  const chances = Array.from(
    { length: 1_000 },
    (_, i) => findRun([], 1, [8080], () => i / 1_000)!.slot,
  )
  assert.deepEqual(
    [...new Set(chances)].sort((a, b) => a - b),
    range(1, EGRESS_SLOTS).filter((s) => s !== 7),
  )
  assert.equal(findRun([busy(1, 6), busy(8, 56)], 1, [8080], first)!.slot, 7)
  assert.equal(findRun([busy(1, 63)], 1, [80], first)!.slot, 0)
  assert.equal(findRun([busy(0, 64)], 1, [], first), undefined)
  assert.deepEqual(findRun([], 64, [8080], first), { slot: 0, count: 64 })
})

test('a block grows upwards, else downwards, else not in its place', () => {
  const at = (slot: number, count = 1): EgressBlock => ({
    slot,
    count,
    ...owner('x'),
    state: 'use',
  })
  assert.deepEqual(resizeInPlace([at(5)], at(5), 3), { slot: 5, count: 3 })
  assert.deepEqual(resizeInPlace([at(5), at(7)], at(5), 3), { slot: 4, count: 3 })
  assert.equal(resizeInPlace([at(4), at(5), at(7)], at(5), 3), undefined)
  assert.deepEqual(resizeInPlace([at(63)], at(63), 2), { slot: 62, count: 2 })
  assert.deepEqual(resizeInPlace([at(3, 4)], at(3, 4), 2), { slot: 3, count: 2 })
})

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
