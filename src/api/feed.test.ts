import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { afterEach, beforeEach, test } from 'node:test'
import { LineSplitter } from '../base/ndjson.ts'
import { FEED_LINE_BYTES_MAX, type FeedEvent, type FeedLine } from '../model/wire.ts'
import { openSqliteStore, type SqliteStore } from '../store/sqlite/sqlite-store.ts'
import type { Op } from '../store/store.ts'
import { feed, writeFeed } from './feed.ts'

const RETAIN = 5

let directory: string
let store: SqliteStore
let abort: AbortController

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'feed-'))
  store = await openSqliteStore(join(directory, 'store.db'), { retainRevisions: RETAIN })
  abort = new AbortController()
})

afterEach(async () => {
  abort.abort()
  await store.close()
  rmSync(directory, { recursive: true })
})

const commit = async (...ops: Op[]): Promise<number> => (await store.txn({ then: ops })).revision

const set = (key: string, value: unknown): Promise<number> =>
  commit({ put: key, value: JSON.stringify(value) })

const open = (after: number, prefixes = ['app/'], pingMs = 60_000) =>
  feed(store, { prefixes, after, pingMs }, abort.signal)

/** The next lines up to and including the first of type `t`. */
async function until(lines: AsyncGenerator<FeedLine>, t: FeedLine['t']): Promise<FeedLine[]> {
  const seen: FeedLine[] = []
  for (;;) {
    const next = await lines.next()
    assert.ok(!next.done, 'the feed ended early')
    seen.push(next.value)
    if (next.value.t === t) return seen
  }
}

const keysOf = (lines: readonly FeedLine[]): string[] =>
  lines.flatMap((line) => (line.t === 'events' ? line.events.map((event) => event[1]) : []))

test('a new follower gets a snapshot, then each change of its prefixes once', async () => {
  await set('app/a', 1)
  await set('secret/x', 1)
  const revision = await set('app/b', { deep: [1] })
  const lines = open(0)
  const first = await until(lines, 'synced')
  assert.equal(first[0]!.t, 'snapshot')
  assert.deepEqual(keysOf(first), ['app/a', 'app/b'])
  assert.deepEqual(first.at(-1), { t: 'synced', revision })
  await set('secret/x', 2)
  const changed = await set('app/a', 2)
  const expected: FeedEvent = ['put', 'app/a', 2, changed]
  assert.deepEqual((await lines.next()).value, {
    ...{ t: 'events', revision: changed },
    events: [expected],
  })
  await commit({ delete: 'app/b' })
  const removed = (await lines.next()).value as FeedLine & { t: 'events' }
  assert.deepEqual(removed.events, [['delete', 'app/b']])
})

test('an empty store syncs at 0 and follows', async () => {
  const lines = open(0)
  assert.deepEqual(await until(lines, 'synced'), [{ t: 'snapshot' }, { t: 'synced', revision: 0 }])
  const next = lines.next()
  const revision = await set('app/a', 1)
  assert.equal(((await next).value as { revision: number }).revision, revision)
})

test('a follower that comes back gets exactly what it missed', async () => {
  const seen = await set('app/a', 1)
  const missed = await set('app/b', 1)
  const lines = open(seen)
  assert.deepEqual((await lines.next()).value, { t: 'synced', revision: seen })
  assert.equal(((await lines.next()).value as { revision: number }).revision, missed)
})

test('a follower that was away for too long, or is ahead, gets a snapshot', async () => {
  const seen = await set('app/a', 1)
  for (let i = 0; i < 10 * RETAIN; i++) await set('app/b', i)
  const late = await until(open(seen), 'snapshot')
  assert.equal(keysOf(late).length, 0)
  assert.equal((await open(1_000_000).next()).value!.t, 'snapshot')
})

test('large snapshots come in several lines of one revision', async () => {
  const text = 'x'.repeat(100_000)
  for (let i = 0; i < 20; i++) await set(`app/${i}`, text)
  const lines = await until(open(0), 'synced')
  const events = lines.filter((line) => line.t === 'events')
  assert.ok(events.length > 1)
  assert.equal(new Set(events.map((line) => line.revision)).size, 1)
  assert.equal(new Set(keysOf(lines)).size, 20)
})

test('silence is filled with pings', async () => {
  const lines = open(0, ['app/'], 1)
  await until(lines, 'synced')
  assert.deepEqual((await lines.next()).value, { t: 'ping', revision: 0 })
  assert.deepEqual((await lines.next()).value, { t: 'ping', revision: 0 })
})

test('a value that is no JSON does not stop the feed', async () => {
  await commit({ put: 'app/bad', value: '{' })
  const lines = await until(open(0), 'synced')
  assert.deepEqual(keysOf(lines), ['app/bad'])
})

test('writeFeed writes lines and calls, and ends with the signal', async () => {
  await set('app/a', 1)
  const stream = new PassThrough()
  async function* calls(): AsyncGenerator<FeedLine> {
    yield { t: 'call', id: 'c1', call: { method: 'ps', machine: 'm' } }
    await new Promise(() => {}) // Nobody asks again.
  }
  const writing = writeFeed(store, { prefixes: ['app/'], after: 0 }, stream, abort.signal, calls())
  const splitter = new LineSplitter(FEED_LINE_BYTES_MAX)
  const types = new Set<string>()
  for await (const chunk of stream) {
    for (const line of splitter.push(chunk)) types.add((JSON.parse(line) as FeedLine).t)
    if (types.has('synced') && types.has('call')) break
  }
  abort.abort()
  await writing
})

test('writeFeed ends when the follower hangs up', async () => {
  const stream = new PassThrough()
  const writing = writeFeed(store, { prefixes: ['app/'], after: 0 }, stream, abort.signal)
  stream.once('data', () => stream.destroy())
  await writing
})

test('a follower that takes nothing is cut off, having cost no more than a line', async () => {
  const text = 'x'.repeat(400_000)
  for (let i = 0; i < 30; i++) await set(`app/${i}`, text)
  let bytes = 0
  const stuck = new Writable({
    highWaterMark: 1024,
    write(chunk: Buffer) {
      bytes += chunk.length
      // Never calls back: the peer's window is closed.
    },
  })
  await writeFeed(store, { prefixes: ['app/'], after: 0, stallMsMax: 20 }, stuck, abort.signal)
  assert.ok(stuck.destroyed)
  assert.ok(bytes + stuck.writableLength < 2_000_000, `${bytes + stuck.writableLength}`)
})
