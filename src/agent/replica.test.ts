import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import { openReplica, type Replica } from './replica.ts'
import { ReplicaWriter } from './replica-writer.ts'

const log = pino({ level: 'silent' })
let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'replica-'))
  path = join(directory, 'replica.db')
})
afterEach(() => rmSync(directory, { recursive: true }))

const put = (key: string, value: unknown, revision: number): FeedEvent => [
  'put',
  key,
  value,
  revision,
]
const events = (revision: number, ...list: FeedEvent[]): FeedLine => ({
  ...{ t: 'events', revision },
  events: list,
})
const snapshot = (revision: number, ...list: FeedEvent[]): FeedLine[] => [
  { t: 'snapshot' },
  events(revision, ...list),
  { t: 'synced', revision },
]

function apply(replica: Pick<Replica, 'apply'>, lines: readonly FeedLine[]): void {
  for (const line of lines) replica.apply(line)
}

/** Key -> value of what the file holds, by a reader of its own. */
function stored(): { revision: number; values: Record<string, unknown> } {
  const replica = openReplica(path, { readOnly: true })
  const values: Record<string, unknown> = {}
  for (const line of replica.lines())
    if (line.t === 'events') for (const event of line.events) values[event[1]] = event[2]
  const { revision } = replica
  replica.close()
  return { revision, values }
}

test('a state survives closing, with its revision', () => {
  const replica = openReplica(path)
  assert.equal(replica.revision, 0)
  assert.deepEqual([...replica.lines()], [])
  apply(replica, snapshot(5, put('app/a', { x: 1 }, 2), put('app/b', 'old', 5)))
  apply(replica, [events(6, put('app/b', 'new', 6)), events(7, ['delete', 'app/a'])])
  replica.close()
  const again = openReplica(path)
  assert.equal(again.revision, 7)
  assert.deepEqual([...again.lines()], snapshot(7, put('app/b', 'new', 6)))
  again.close()
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('half a snapshot is nobody: the state before it stays until it is complete', () => {
  const replica = openReplica(path)
  apply(replica, snapshot(5, put('app/a', 1, 5)))
  const many = Array.from({ length: 3_000 }, (_, i) => put(`app/n${i}`, i, 9))
  apply(replica, [{ t: 'snapshot' }, events(9, ...many)])
  assert.deepEqual(stored(), { revision: 5, values: { 'app/a': 1 } })
  replica.close() // As a crash would leave it.
  const again = openReplica(path)
  assert.equal(again.revision, 5)
  apply(again, snapshot(10, put('app/z', 1, 10)))
  again.close()
  assert.deepEqual(stored(), { revision: 10, values: { 'app/z': 1 } })
})

test('a damaged or foreign file is thrown away; a reader sees it as empty', () => {
  for (const damage of [
    () => writeFileSync(path, 'this is no database, and it is long enough to be seen as one'),
    () => {
      const replica = openReplica(path)
      apply(replica, snapshot(5, put('app/a', 'x'.repeat(50_000), 5)))
      replica.close()
      const bytes = readFileSync(path)
      bytes.fill(0xff, 4_096 * 2)
      writeFileSync(path, bytes)
      appendFileSync(path, 'tail')
    },
  ]) {
    damage()
    assert.equal(stored().revision, 0)
    const replica = openReplica(path)
    assert.equal(replica.revision, 0)
    apply(replica, snapshot(3, put('app/a', 1, 3)))
    replica.close()
    assert.deepEqual(stored(), { revision: 3, values: { 'app/a': 1 } })
  }
})

test('a reader of a file that is not there sees nothing, and makes no file', () => {
  assert.deepEqual(stored(), { revision: 0, values: {} })
  assert.throws(() => statSync(path))
})

const KEYS = ['app/a', 'app/b', 'machine/h/m']
const arbEvents = fc.array(
  fc
    .tuple(fc.constantFrom(...KEYS), fc.option(fc.jsonValue()))
    .map(([key, value]): FeedEvent => (value === null ? ['delete', key] : put(key, value, 1))),
  { maxLength: 4 },
)

test('property: the file is the fold of the lines', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), arbEvents), { maxLength: 10 }), (steps) => {
      rmSync(path, { force: true })
      const replica = openReplica(path)
      let values: Record<string, unknown> = {}
      let revision = 0
      for (const [whole, list] of steps) {
        revision += 1
        if (whole) values = {}
        for (const event of list) {
          if (event[0] === 'put') values[event[1]] = event[2]
          else delete values[event[1]]
        }
        apply(replica, whole ? snapshot(revision, ...list) : [events(revision, ...list)])
      }
      replica.close()
      assert.deepEqual(stored(), { revision, values: JSON.parse(JSON.stringify(values)) })
    }),
    { numRuns: 30 },
  )
})

test('the writer stores from its thread what it was given', async () => {
  const writer = new ReplicaWriter({ path, log, state: () => [], flushMs: 1 })
  apply(writer, snapshot(5, put('app/a', 1, 5)))
  for (let i = 6; i < 200; i++) writer.apply(events(i, put('app/a', i, i)))
  await writer.close()
  assert.deepEqual(stored(), { revision: 199, values: { 'app/a': 199 } })
})

test('after the disk has failed the writer stores the whole state again', async () => {
  const other = openReplica(path)
  apply(other, snapshot(1, put('app/a', 1, 1)))
  let asked = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const state = () => {
    asked += 1
    setImmediate(resolve)
    return snapshot(9, put('app/b', 2, 9))
  }
  const writer = new ReplicaWriter({ path, log, state, flushMs: 1, retryMs: 1 })
  // A value that cannot be stored stands for a disk that refuses.
  writer.apply(events(2, ['put', 'app/a', 1, 'no number' as unknown as number]))
  writer.apply(events(3, ['put', 'app/a', 1, {} as unknown as number]))
  await promise
  await writer.close()
  other.close()
  assert.equal(asked, 1)
  assert.deepEqual(stored(), { revision: 9, values: { 'app/b': 2 } })
})
