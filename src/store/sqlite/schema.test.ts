import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type TestContext, test } from 'node:test'
import { openSqliteStore } from './sqlite-store.ts'

function directoryFor(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'fairway-store-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return directory
}

const failsToOpen = (path: string, code: string) =>
  assert.rejects(openSqliteStore(path, { lockWaitMs: 50 }), (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message)
    assert.ok(error.message.includes(path))
    return true
  })

test('the files are for their owner only, whatever the umask and the mode were', async (t) => {
  const path = join(directoryFor(t), 'new', 'store.db')
  const umask = process.umask(0)
  t.after(() => process.umask(umask))
  const store = await openSqliteStore(path)
  await store.txn({ then: [{ put: 'a', value: '' }] })
  assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
  for (const file of [path, `${path}-wal`]) assert.equal(statSync(file).mode & 0o777, 0o600, file)
  await store.close()
})

test('a second opener is told, and the first goes on', async (t) => {
  const path = join(directoryFor(t), 'store.db')
  const store = await openSqliteStore(path)
  await failsToOpen(path, 'store_in_use')
  assert.equal((await store.txn({ then: [{ put: 'a', value: '' }] })).revision, 1)
  await store.close()
  await (await openSqliteStore(path)).close()
})

test('a file that is no database, or another one, is left alone', async (t) => {
  const directory = directoryFor(t)
  const text = join(directory, 'text')
  writeFileSync(text, 'hello '.repeat(1_000))
  await failsToOpen(text, 'store_corrupt')
  const other = join(directory, 'other.db')
  const db = new DatabaseSync(other)
  db.exec('CREATE TABLE live (a)')
  db.close()
  await failsToOpen(other, 'store_foreign')
  await failsToOpen(directory, 'store_failed')
})

test('a newer schema asks for the newer version', async (t) => {
  const path = join(directoryFor(t), 'store.db')
  await (await openSqliteStore(path)).close()
  const db = new DatabaseSync(path)
  db.exec('PRAGMA user_version = 99')
  db.close()
  await failsToOpen(path, 'store_newer')
})

test('damage is found when the file is opened', async (t) => {
  const path = join(directoryFor(t), 'store.db')
  const store = await openSqliteStore(path)
  for (let i = 0; i < 50; i++)
    await store.txn({ then: [{ put: `k${i}`, value: 'x'.repeat(1_000) }] })
  await store.close()
  truncateSync(path, statSync(path).size - 8 * 4096)
  await failsToOpen(path, 'store_corrupt')
})

test('a file whose making was cut short is made anew', async (t) => {
  const path = join(directoryFor(t), 'store.db')
  writeFileSync(path, '')
  const db = new DatabaseSync(path)
  db.exec('PRAGMA journal_mode = WAL')
  db.close()
  const store = await openSqliteStore(path)
  assert.equal((await store.range('')).revision, 0)
  await store.close()
})

test('a closed store refuses calls and ends watches', async () => {
  const store = await openSqliteStore(':memory:')
  const { signal } = new AbortController()
  const watching = store.watch(['a'], 0, signal)[Symbol.asyncIterator]().next()
  const ended = assert.rejects(watching, { code: 'store_closed' })
  const last = store.txn({ then: [{ put: 'b', value: '' }] })
  await store.close()
  assert.equal((await last).revision, 1)
  await ended
  await assert.rejects(store.get('a'), { code: 'store_closed' })
  await store.close()
})
