import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FeedEvent } from '../model/wire.ts'
import { LoadCells, newLoadMemory } from '../proxy/balance/loads.ts'
import { testEndpoint } from '../proxy/testing.ts'
import { type CountedMachine, LoadSlots } from './edge-load-slots.ts'

const put = (id: string, services = 1, host = 'iad1', hard: number | null = null): FeedEvent => {
  const machine = {
    ...{ id, host },
    services: Array.from({ length: services }, () => ({ port: 80, internalPort: 80, hard })),
  }
  return ['put', `endpoint/app/${id}`, testEndpoint('app', machine), 1]
}
const gone = (id: string): FeedEvent => ['delete', `endpoint/app/${id}`]

function setUp(size = 4) {
  const cells = new LoadCells(newLoadMemory(size))
  const slots = new LoadSlots('iad1', cells)
  const events = (...list: FeedEvent[]) => slots.take({ t: 'events', revision: 1, events: list })
  return { cells, slots, events }
}
const brief = (machines: readonly CountedMachine[]) =>
  machines.map(({ machine, slots }) => [machine, ...slots])

test('services of this host’s machines get slots, before the line and once', () => {
  const { slots, events } = setUp()
  const { assign, forget } = events(put('a', 2), put('elsewhere', 1, 'lhr1'), [
    'put',
    'app/x',
    {},
    1,
  ])
  assert.deepEqual([brief(assign), forget], [[['a', 0, 1]], []])
  assert.deepEqual(brief(events(put('a', 1)).assign), [], 'slots stay when a service goes')
  assert.deepEqual(brief(events(put('a', 3)).assign), [['a', 0, 1, 2]])
  assert.deepEqual(brief(events(put('b'), put('c')).assign), [
    ['b', 3],
    ['c', -1],
  ])
  assert.equal([...slots.machines()].length, 3)
})

test('limits follow the endpoint; one that cannot be read stays as it was', () => {
  const { slots, events } = setUp()
  events(put('a', 1, 'iad1', 5))
  events(put('a', 1, 'iad1', 7))
  events(['put', 'endpoint/app/a', { host: 'iad1', services: 'none' }, 2])
  assert.deepEqual([...slots.machines()][0]?.limits, [{ soft: 20, hard: 7 }])
})

test('a slot is given out again when nobody claims it and nothing is counted in it', () => {
  const { cells, slots, events } = setUp(2)
  events(put('a'), put('b'))
  cells.claim(0, null)
  const { forget } = events(gone('a'), gone('b'), gone('unknown'))
  assert.deepEqual(brief(forget), [
    ['a', 0],
    ['b', 1],
  ])
  assert.deepEqual(brief(events(put('c')).assign), [['c', -1]], 'workers may still claim it')
  for (const machine of forget) slots.freed(machine.slots)
  assert.deepEqual(brief(events(put('d')).assign), [['d', 1]], 'the other has a request in flight')
  assert.deepEqual(brief(events(put('e')).assign), [['e', -1]])
  cells.release(0)
  assert.deepEqual(brief(events(put('f')).assign), [['f', 0]])
})

test('a machine that moves to another host is forgotten', () => {
  const { events } = setUp()
  events(put('a'))
  assert.deepEqual(brief(events(put('a', 1, 'lhr1')).forget), [['a', 0]])
})

test('a snapshot: what it lacks is forgotten when it is complete', () => {
  const { slots, events } = setUp()
  events(put('a'), put('b'))
  assert.deepEqual(slots.take({ t: 'snapshot' }), { assign: [], forget: [] })
  assert.deepEqual(brief(events(put('b'), put('c')).assign), [['c', 2]])
  assert.deepEqual(brief(slots.take({ t: 'synced', revision: 2 }).forget), [['a', 0]])
  assert.deepEqual(slots.take({ t: 'synced', revision: 2 }), { assign: [], forget: [] })
})
