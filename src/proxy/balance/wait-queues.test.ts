import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import { Counters } from '../counters.ts'
import * as limits from '../limits.ts'
import type { Probe } from './balancer.ts'
import { LoadTable, newLoadMemory } from './loads.ts'
import { type Turn, type Waiter, WaitQueues, waitMs } from './wait-queues.ts'

/** Requests for one app, of which `free` can be served. */
class Place {
  free = 0
  now = 0
  readonly events: string[] = []
  readonly counters = new Counters()
  readonly queues: WaitQueues

  constructor(
    options: { loads?: LoadTable; random?: () => number; onReleased?: (app: string) => void } = {},
  ) {
    const { loads = LoadTable.alone(), random = () => 0.5, onReleased } = options
    const now = () => this.now
    this.queues = new WaitQueues({ counters: this.counters, loads, random, onReleased, now })
  }

  waiter(name: string, turn?: (probe: Probe | null) => Turn, port = 80): Waiter {
    const waiter: Waiter = {
      ticket: 0,
      waitsUntil: this.now + limits.QUEUE_MS,
      onTurn: (probe) => {
        const served = this.free > 0
        const result = turn ? turn(probe) : served ? 'served' : 'waits'
        if (result === 'waits') this.queues.join('app', port, waiter)
        else {
          this.free--
          this.events.push(name)
        }
        return result
      },
      onWaitedTooLong: () => this.events.push(`${name} waited too long`),
    }
    return waiter
  }

  join(...names: string[]): Waiter[] {
    return names.map((name) => {
      const waiter = this.waiter(name)
      assert.ok(this.queues.join('app', 80, waiter))
      return waiter
    })
  }
}

const soon = () => new Promise((resolve) => setImmediate(resolve))

// Their own tries by time would come in between.
beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
afterEach(() => mock.timers.reset())

describe('those who wait', () => {
  test('are served in their order, as slots become free', async () => {
    const place = new Place()
    const [, b] = place.join('a', 'b', 'c')
    assert.ok(place.queues.has('app', 80))
    assert.ok(!place.queues.has('app', 81))
    place.free = 1
    place.queues.released('app', 'm', 'of-full')
    assert.deepEqual(place.events, [], 'not in the middle of other work')
    await soon()
    assert.deepEqual(place.events, ['a'])
    place.queues.leave('app', 80, b!)
    place.free = 2
    place.queues.wake('other')
    await soon()
    assert.deepEqual(place.events, ['a'])
    place.queues.wake('app')
    await soon()
    assert.deepEqual(place.events, ['a', 'c'])
    assert.equal(place.counters.queued, 0)
    assert.ok(!place.queues.has('app', 80))
  })

  test('who comes back from another host has kept its place', async () => {
    const place = new Place()
    const first = place.waiter('first', () => 'sent')
    place.queues.join('app', 80, first)
    place.join('second')
    place.queues.wake('app')
    await soon()
    assert.deepEqual(place.events, ['first'], 'and the second waits: there was no slot')
    place.queues.join('app', 80, place.waiter('third'))
    first.onTurn = () => {
      place.events.push('first again')
      return 'served'
    }
    place.queues.join('app', 80, first)
    place.free = 5
    place.queues.wake('app')
    await soon()
    assert.deepEqual(place.events, ['first', 'first again', 'second', 'third'])
  })

  test('a slot given back on another host lets the first of them try there', async () => {
    const place = new Place()
    const probes: (Probe | null)[] = []
    for (const name of ['a', 'b'])
      place.queues.join(
        'app',
        80,
        place.waiter(name, (probe) => {
          probes.push(probe)
          return probe ? 'sent' : 'waits'
        }),
      )
    place.queues.released('app', 'm1', 'elsewhere')
    place.queues.released('app', 'm2', 'of-free')
    await soon()
    assert.deepEqual([probes, place.events], [[{ machine: 'm1' }, null], ['a']])
  })

  test('only so many go to other hosts at once', async () => {
    const place = new Place()
    for (let i = 0; i < limits.QUEUE_SENT_PER_TURN_MAX + 3; i++)
      place.queues.join(
        'app',
        80,
        place.waiter(`${i}`, () => 'sent'),
      )
    place.queues.wake('app')
    await soon()
    assert.equal(place.events.length, limits.QUEUE_SENT_PER_TURN_MAX)
    assert.equal(place.queues.size, 3)
    place.queues.wake('app')
    await soon()
    assert.equal(place.queues.size, 0)
  })

  test('are so many for one app, so many in all, and no more', () => {
    const place = new Place()
    const fill = (app: string) => {
      let n = 0
      while (place.queues.join(app, n % 7, place.waiter(''))) n++
      return n
    }
    const joined = ['a', 'b', 'c', 'd', 'e'].map(fill)
    assert.deepEqual(joined, [...Array(4).fill(limits.QUEUED_PER_APP_MAX), 0])
    assert.equal(place.counters.queued, limits.QUEUED_MAX)
  })

  test('try again by time, the last of them with a probe, and give up after so long', () => {
    const place = new Place()
    const tried: string[] = []
    for (const name of ['a', 'b'])
      place.queues.join(
        'app',
        80,
        place.waiter(name, (probe) => {
          tried.push(`${name} ${probe}`)
          return 'waits'
        }),
      )
    for (let i = 0; i < 2; i++) mock.timers.tick(limits.QUEUE_STEP_MS)
    assert.deepEqual(tried, ['b any', 'a null', 'b any', 'a null'])
    place.now = limits.QUEUE_MS
    mock.timers.tick(limits.QUEUE_STEP_MS)
    assert.deepEqual(place.events, ['a waited too long', 'b waited too long'])
    assert.equal(place.counters.limits.get('queue_ms'), 2)
    assert.equal(place.queues.size, 0)
  })
})

describe('two workers', () => {
  function twoPlaces(random: () => number) {
    const memory = newLoadMemory(1)
    const places = [0, 1].map((worker) => {
      const loads = new LoadTable({ memory, worker })
      loads.assign('m', [0])
      const others = (app: string) => places[1 - worker]!.queues.wake(app)
      return new Place({ loads, random, onReleased: others })
    })
    return places as [Place, Place]
  }

  test('a slot that one gives back serves whoever waits in the other', async () => {
    const [one, other] = twoPlaces(() => 0.5)
    other.join('theirs')
    other.free = 1
    one.queues.released('app', 'm', 'of-full')
    await soon()
    assert.deepEqual(other.events, ['theirs'])
  })

  test('when both have some who wait, each gets its share', async () => {
    for (const [value, mine, theirs] of [
      [0.3, [], ['b']],
      [0.9, ['a'], ['b']],
    ] as const) {
      const [one, other] = twoPlaces(() => value)
      one.join('a', 'a2')
      other.join('b')
      one.free = 1
      other.free = 1
      one.queues.released('app', 'm', 'of-full')
      await soon()
      // In life there is one slot: whoever claims it first has it.
      assert.deepEqual([one.events, other.events], [mine, theirs])
      if (mine.length > 0) continue
      mock.timers.tick(limits.QUEUE_HANDOFF_MS)
      await soon()
      assert.deepEqual(one.events, ['a'], 'not taken by the other: for one’s own')
    }
  })

  test('nobody is told of a slot when nobody waits elsewhere', async () => {
    let told = 0
    const place = new Place({ onReleased: () => told++ })
    place.join('a')
    place.free = 1
    place.queues.released('app', 'm', 'of-full')
    await soon()
    assert.deepEqual([told, place.events], [0, ['a']])
  })
})

test('how long a request waits depends on why', () => {
  assert.equal(waitMs('hard-limit', null), limits.QUEUE_MS)
  assert.equal(waitMs('none', 'full'), limits.QUEUE_MS)
  assert.equal(waitMs('starting', null), limits.START_WAIT_MS)
  assert.equal(waitMs('none', 'unreached'), limits.RECONNECT_WAIT_MS)
  for (const reason of ['none', 'unavailable', 'cordoned'] as const)
    assert.equal(waitMs(reason, null), 0)
})
