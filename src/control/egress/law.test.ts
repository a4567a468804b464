import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EgressPair } from '../../model/resources.ts'
import { eligibility, planMoves, type Seat, type Target } from './law.ts'

const pairOf = (id: string, changes: Partial<EgressPair> = {}): EgressPair => ({
  id,
  v4: '198.51.100.1',
  v6: '2001:db8:e001::1',
  org: 'personal',
  app: 'hello',
  machine: null,
  outbound: null,
  regions: ['iad'],
  pin: null,
  state: 'active',
  blocks: [],
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z',
  ...changes,
})
const seatOf = (id: string, changes: Partial<Seat> = {}): Seat => ({
  id,
  host: 'iad1',
  region: 'iad',
  group: 'app',
  listening: [],
  ...changes,
})

test('the first kind of pair that there is for a machine counts, and no other', () => {
  const free = pairOf('free')
  const group = pairOf('group', { pin: { group: 'app' } })
  const pinned = pairOf('pinned', { pin: { machine: 'm1' } })
  const own = pairOf('own', { machine: 'm1' })
  const lists = (pairs: EgressPair[], seat = seatOf('m1')) => eligibility(pairs)(seat)
  assert.deepEqual(lists([free, group, pinned, own]), [['own']])
  assert.deepEqual(lists([free, group, pinned]), [['pinned']])
  assert.deepEqual(lists([free, group]), [['group']])
  assert.deepEqual(lists([free, group], seatOf('m2', { group: 'worker' })), [['free']])
  assert.deepEqual(lists([group, pinned, own], seatOf('m2', { group: 'worker' })), [])
  assert.deepEqual(lists([pairOf('a', { state: 'draining' }), free]), [['free']])
  assert.deepEqual(lists([pairOf('lhr', { regions: ['lhr'] })]), [])
  assert.deepEqual(lists([pairOf('both', { regions: ['lhr', 'iad'] })]), [['both']])
})

test('the release command counts as of every group, and prefers what belongs to none', () => {
  const seat = seatOf('r', { group: 'fly_app_release_command' })
  const web = pairOf('web', { pin: { group: 'web' } })
  const worker = pairOf('worker', { pin: { group: 'worker' } })
  assert.deepEqual(eligibility([web, worker, pairOf('free')])(seat), [['free'], ['web', 'worker']])
  assert.deepEqual(eligibility([web, worker])(seat), [['web', 'worker']])
})

const plan = (pairs: EgressPair[], seats: Seat[], held: [string, Target][] = []) =>
  planMoves(pairs, seats, new Map(held), Math.random)

test('several pairs share the machines evenly; a pair with one family comes last', () => {
  const seats = Array.from({ length: 90 }, (_, i) => seatOf(`m${i}`))
  const { pairs, over } = plan([pairOf('a'), pairOf('b'), pairOf('c')], seats)
  assert.deepEqual(over, [])
  assert.deepEqual(
    pairs.map((pair) => pair.blocks.length),
    [30, 30, 30],
  )
  const uneven = plan([pairOf('half', { v4: null }), pairOf('whole')], seats)
  assert.deepEqual(
    uneven.pairs.map((pair) => pair.blocks.length),
    [26, 64],
  )
})

test('64 machines have room on a pair, the 65th is left over; none is moved without need', () => {
  const seats = Array.from({ length: 65 }, (_, i) => seatOf(`m${i}`))
  const full = plan([pairOf('a')], seats)
  assert.equal(full.moves.size, 64)
  assert.deepEqual(
    full.over.map(({ id }) => id),
    ['m64'],
  )
  const slots = full.pairs[0]!.blocks.map(({ slot }) => slot)
  assert.deepEqual(
    slots,
    Array.from({ length: 64 }, (_, i) => i),
  )
  const held = full.pairs[0]!.blocks.map(({ machine, slot, count }): [string, Target] => [
    machine!,
    { pair: 'a', slot, count },
  ])
  const again = plan([full.pairs[0]!, pairOf('b')], seats, held)
  assert.deepEqual([...again.moves.keys()], ['m64'])
})

test('who loses its pair goes to another with as many blocks, or to the default egress', () => {
  const held: [string, Target][] = [['m1', { pair: 'gone', slot: 3, count: 5 }]]
  const there = plan([pairOf('a')], [seatOf('m1')], held)
  assert.equal(there.moves.get('m1')!.count, 5)
  const none = plan([], [seatOf('m1'), seatOf('m2')], held)
  assert.deepEqual([...none.moves], [['m1', null]])
})

test('of thousands of machines only those change that have to', () => {
  const pairs = Array.from({ length: 100 }, (_, i) => pairOf(`p${i}`))
  const seats = Array.from({ length: 6_300 }, (_, i) => seatOf(`m${i}`))
  const held = seats.map(({ id }, i): [string, Target] => {
    const pair = `p${Math.floor(i / 63)}`
    return [id, { pair, slot: 1 + (i % 63), count: 1 }]
  })
  const { moves, over } = plan(pairs.slice(1), seats, held)
  assert.equal(moves.size, 63)
  assert.deepEqual(over, [])
  assert.ok([...moves.keys()].every((id) => Number(id.slice(1)) < 63))
})
