import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { CompactedError, type Txn } from '../store.ts'
import { Engine } from './engine.ts'
import { GroupCommit } from './group.ts'
import type { Request } from './protocol.ts'
import { openDatabase } from './schema.ts'

function groupFor(t: TestContext, retain = 100) {
  const db = openDatabase(':memory:')
  t.after(() => db.close())
  const engine = new Engine(db, { retain, now: 0 })
  return { db, engine, group: new GroupCommit(engine, 'test.db') }
}

const txnRequest = (id: number, txn: Txn): Request => ({ id, now: 0, call: 'txn', txn })
const put = (id: number, key: string, value = '') => txnRequest(id, { then: [{ put: key, value }] })

const codes = (group: GroupCommit, requests: readonly Request[]) =>
  group
    .run(requests)
    .replies.map((reply) =>
      'error' in reply
        ? reply.error.kind === 'failed'
          ? reply.error.code
          : reply.error.kind
        : 'ok',
    )

test('a transaction that finds the disk full fails alone', (t) => {
  const { db, engine, group } = groupFor(t)
  const pages = Number(db.prepare('PRAGMA page_count').get()?.page_count)
  db.exec(`PRAGMA max_page_count = ${pages + 20}`)
  const lease = engine.grant(1_000, 0)
  engine.commit()
  const { replies, batches } = group.run([
    put(1, 'a'),
    { id: 2, now: 0, call: 'grant', ttlMs: 5 },
    put(3, 'big', 'x'.repeat(500_000)),
    txnRequest(4, { then: [{ put: 'b', value: '', lease }] }),
    { id: 5, now: 0, call: 'range', prefix: '', limit: 10, options: {} },
  ])
  assert.deepEqual(
    replies.map((reply) => ('error' in reply ? reply.error.kind : 'ok')),
    ['ok', 'ok', 'failed', 'ok', 'ok'],
  )
  assert.ok('error' in replies[2]! && replies[2].error.kind === 'failed')
  assert.equal(replies[2].error.code, 'store_full')
  assert.deepEqual(
    batches.map(({ revision }) => revision),
    [1, 2],
  )
  assert.deepEqual(
    engine.range('', 10, {}).kvs.map(({ key }) => key),
    ['a', 'b'],
  )
  // The grant of the first try was undone, that of the second was not.
  assert.equal(Number(db.prepare('SELECT count(*) AS n FROM lease').get()?.n), 2)
  assert.equal(engine.leases.nextAt, 5)
  assert.equal(group.fatal, undefined)
})

test('after an error of the disk nothing is acknowledged any more', (t) => {
  const { db, engine, group } = groupFor(t)
  const exec = db.exec.bind(db)
  const failCommit = (sql: string) => {
    if (sql !== 'COMMIT') return exec(sql)
    throw Object.assign(new Error('disk I/O error'), { errcode: 10 | (4 << 8) })
  }
  t.mock.method(DatabaseSync.prototype, 'exec', failCommit)
  assert.deepEqual(codes(group, [put(1, 'a'), put(2, 'b')]), ['store_failed', 'store_failed'])
  t.mock.restoreAll()
  assert.deepEqual(codes(group, [put(3, 'c')]), ['store_failed'])
  assert.equal(group.fatal?.code, 'store_failed')
  assert.equal(engine.revision, 0)
})

test('one commit serves a group, and readers need none', (t) => {
  const { db, group } = groupFor(t)
  const exec = t.mock.method(db, 'exec')
  group.run(Array.from({ length: 50 }, (_, i) => put(i, `k${i}`)))
  assert.deepEqual(
    exec.mock.calls.map(({ arguments: [sql] }) => sql),
    ['BEGIN IMMEDIATE', 'COMMIT'],
  )
  group.run([{ id: 1, now: 0, call: 'get', key: 'k1' }])
  assert.equal(exec.mock.callCount(), 2)
})

test('compaction keeps history near what is retained, in bounded steps', (t) => {
  const { db, engine, group } = groupFor(t, 100)
  const rows = () => Number(db.prepare('SELECT count(*) AS n FROM history').get()?.n)
  for (let i = 0; i < 1_000; i++) group.run([put(i, `k${i % 7}`, String(i))])
  assert.equal(rows(), 107)
  assert.equal(engine.compactRevision, 900)
  assert.equal(engine.range('', 10, { revision: 900 }).kvs.length, 7)

  for (let i = 0; i < 200; i++)
    group.run([put(i, 'k0'), txnRequest(i, { then: [{ delete: `gone${i}` }] })])
  for (let i = 0; i < 100; i++)
    group.run([put(1, 'gone'), txnRequest(2, { then: [{ delete: 'gone' }] })])
  for (let i = 0; i < 100; i++) group.run([put(i, 'k0')])
  assert.equal(rows(), 107, 'deletions leave nothing')

  // A store that retained more before has a backlog, which commits work off little by little.
  const smaller = { engine: new Engine(reopened(db), { retain: 1, now: 0 }) }
  const backlog = new GroupCommit(smaller.engine, 'test.db')
  backlog.run([put(1, 'k0')])
  const left = rows()
  assert.ok(left > 30 && left < 60, String(left))
  backlog.run([put(2, 'k0')])
  assert.equal(rows(), 8)
})

test('what was compacted stays so when more is retained later', (t) => {
  const { db, group } = groupFor(t, 10)
  for (let i = 0; i < 50; i++) group.run([put(i, 'k', String(i))])
  const larger = new Engine(reopened(db), { retain: 1_000, now: 0 })
  assert.equal(larger.compactRevision, 40)
  assert.equal(larger.range('', 1, { revision: 40 }).kvs[0]?.value, '39')
  assert.throws(() => larger.range('', 1, { revision: 39 }), CompactedError)
})

/** The same data for a second engine: temporary tables belong to the connection. */
function reopened(db: DatabaseSync): DatabaseSync {
  db.exec('DROP TABLE temp.lease_end')
  return db
}
