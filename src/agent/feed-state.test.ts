import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import { FeedCursor } from './feed-cursor.ts'
import { FeedState } from './feed-state.ts'

const put = (key: string, value: unknown): FeedEvent => ['put', key, value, 1]
const events = (revision: number, ...list: FeedEvent[]): FeedLine => ({
  ...{ t: 'events', revision },
  events: list,
})
function load(state: FeedState, revision: number, ...list: FeedEvent[]): void {
  state.apply({ t: 'snapshot' })
  state.apply(events(revision, ...list))
  state.apply({ t: 'synced', revision })
}

/** A follower: what it has, and where it stands. */
class Follower {
  readonly cursor: FeedCursor
  readonly lines: FeedLine[] = []
  values = new Map<string, unknown>()
  #staged: Map<string, unknown> | undefined
  #abort = new AbortController()
  #feed: AsyncGenerator<string>

  constructor(state: FeedState, after = 0, from?: Follower) {
    this.cursor = new FeedCursor(after)
    if (from) this.values = new Map(from.values)
    this.#feed = state.follow(after, this.#abort.signal)
  }

  /** Takes one line. */
  async step(): Promise<FeedLine> {
    const line = JSON.parse((await this.#feed.next()).value as string) as FeedLine
    this.lines.push(line)
    this.cursor.take(line)
    if (line.t === 'snapshot') this.#staged = new Map()
    if (line.t === 'synced' && this.#staged) this.values = this.#staged
    if (line.t === 'synced') this.#staged = undefined
    if (line.t === 'events')
      for (const event of line.events) {
        if (event[0] === 'put') (this.#staged ?? this.values).set(event[1], event[2])
        else (this.#staged ?? this.values).delete(event[1])
      }
    return line
  }

  async until(t: FeedLine['t']): Promise<FeedLine> {
    for (;;) {
      const line = await this.step()
      if (line.t === t) return line
    }
  }

  close(): void {
    this.#abort.abort()
  }
}

test('a new follower gets the public part of the state, then changes', async () => {
  const state = new FeedState()
  load(state, 5, put('app/a', 1), put('machine/h/m', 'private'))
  const follower = new Follower(state)
  assert.deepEqual(await follower.until('synced'), { t: 'synced', revision: 5 })
  assert.deepEqual([...follower.values], [['app/a', 1]])
  state.apply(events(6, put('machine/h/m', 'private')))
  assert.deepEqual(await follower.step(), { t: 'events', revision: 6, events: [] })
  state.apply(events(7, ['delete', 'app/a']))
  assert.deepEqual(await follower.step(), events(7, ['delete', 'app/a']))
  assert.deepEqual(state.get('machine/h/m'), 'private')
  assert.equal(state.get('app/a'), undefined)
})

test('without a state a follower waits; it gets one when there is one', async () => {
  const state = new FeedState({ pingMs: 1 })
  const follower = new Follower(state)
  assert.deepEqual(await follower.step(), { t: 'ping', revision: 0 })
  load(state, 1, put('app/a', 1))
  await follower.until('synced')
  assert.equal(follower.values.size, 1)
})

test('a follower that comes back gets only what it missed', async () => {
  const state = new FeedState()
  load(state, 5, put('app/a', 1))
  for (let i = 6; i < 10; i++) state.apply(events(i, put('app/a', i)))
  const follower = new Follower(state, 7)
  assert.deepEqual(await follower.step(), { t: 'synced', revision: 7 })
  assert.deepEqual(await follower.step(), events(8, put('app/a', 8)))
  assert.deepEqual(await follower.step(), events(9, put('app/a', 9)))
})

test('one that is too far behind gets a snapshot', async () => {
  const state = new FeedState({ recentMax: 2 })
  load(state, 5, put('app/a', 1))
  for (let i = 6; i < 10; i++) state.apply(events(i, put('app/a', i)))
  const follower = new Follower(state, 6)
  assert.deepEqual(await follower.step(), { t: 'snapshot' })
  await follower.until('synced')
  assert.equal(follower.values.get('app/a'), 9)
})

test('one that is ahead keeps what it has until the state has caught up', async () => {
  const state = new FeedState({ pingMs: 1 })
  load(state, 5)
  const follower = new Follower(state, 7)
  await follower.until('synced')
  for (let i = 6; i < 9; i++) state.apply(events(i, put('app/a', i)))
  assert.deepEqual(await follower.until('events'), events(8, put('app/a', 8)))
})

test('one that is ahead of a state that was replaced gets the new one', async () => {
  const state = new FeedState()
  load(state, 5)
  const follower = new Follower(state, 7)
  await follower.until('synced')
  load(state, 3, put('app/restored', 1))
  assert.deepEqual(await follower.until('synced'), { t: 'synced', revision: 3 })
  assert.deepEqual([...follower.values.keys()], ['app/restored'])
})

test('a cursor cut off within a snapshot asks for a whole one', () => {
  const cursor = new FeedCursor(4)
  cursor.take({ t: 'snapshot' })
  cursor.take(events(9))
  assert.equal(cursor.after, 0)
  cursor.take({ t: 'synced', revision: 9 })
  cursor.take(events(10))
  cursor.take({ t: 'ping', revision: 12 })
  assert.equal(cursor.after, 10)
})

const KEYS = ['app/a', 'app/b', 'app/c', 'app/d']
const arbEvent = fc
  .tuple(fc.constantFrom(...KEYS), fc.option(fc.nat({ max: 9 })))
  .map(([key, value]): FeedEvent => (value === null ? ['delete', key] : put(key, value)))
const arbStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('change' as const),
      list: fc.array(arbEvent, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('load' as const),
      list: fc.array(arbEvent, { maxLength: 3 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('read' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reconnect' as const) }) },
)

test('property: whatever comes between a follower and its reads, it ends with the state', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(arbStep, { maxLength: 40 }), async (steps) => {
      const state = new FeedState({ recentMax: 4, pingMs: 0 })
      load(state, 1, ...KEYS.map((key) => put(key, 0)))
      let revision = 1
      let follower = new Follower(state)
      for (const step of steps) {
        if (step.do === 'change') state.apply(events(++revision, ...step.list))
        else if (step.do === 'load') load(state, ++revision, ...step.list)
        else if (step.do === 'read') await follower.step()
        else {
          follower.close()
          follower = new Follower(state, follower.cursor.after, follower)
        }
      }
      state.apply(events(++revision, put('app/last', revision)))
      while (follower.values.get('app/last') !== revision || follower.cursor.after !== revision)
        await follower.step()
      follower.close()
      const expected = [...state.keys()].map((key) => [key, state.get(key)] as const)
      assert.deepEqual(new Map(follower.values), new Map(expected))
    }),
    { numRuns: 1000 },
  )
})
