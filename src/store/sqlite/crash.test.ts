import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { openSqliteStore } from './sqlite-store.ts'

const ROUNDS = 3
const WRITERS = 8

/** Commits as fast as it can, several at once, and prints each acknowledgement. */
const CHILD = `
  const { openSqliteStore } = await import(process.argv[1])
  const { writeSync } = await import('node:fs')
  const store = await openSqliteStore(process.argv[2], { retainRevisions: 50 })
  const round = process.argv[3]
  for (let writer = 0; writer < ${WRITERS}; writer++) void write(writer)
  async function write(writer) {
    for (let n = 0; ; n++) {
      const key = 'r' + round + '/w' + writer + '/' + n
      const then = [{ put: key, value: key }, { put: 'last/' + writer, value: key }]
      const { revision } = await store.txn({ then })
      writeSync(1, key + ' ' + revision + '\\n')
    }
  }
`

test('kill -9 loses no acknowledged transaction and tears none', { timeout: 60_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'fairway-store-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'store.db')
  const acknowledged = new Map<string, number>()
  for (let round = 0; round < ROUNDS; round++) {
    // Differently far each time, so that checkpoints and compaction are hit as well.
    const fresh = await killedAfter(path, round, 20 + 200 * round)
    for (const [key, revision] of fresh) acknowledged.set(key, revision)
    const store = await openSqliteStore(path)
    for (const [key, revision] of acknowledged)
      assert.equal((await store.get(key))?.modRevision, revision, key)
    for (const last of (await store.range('last/')).kvs) {
      const kv = await store.get(last.value)
      assert.equal(kv?.modRevision, last.modRevision, 'both keys of a transaction, or none')
    }
    await store.close()
  }
})

async function killedAfter(path: string, round: number, acks: number) {
  const module = new URL('./sqlite-store.ts', import.meta.url).href
  const args = ['--input-type=module', '-e', CHILD, module, path, String(round)]
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const seen = new Map<string, number>()
  for await (const line of createInterface(child.stdout)) {
    const [key, revision] = line.split(' ')
    seen.set(key!, Number(revision))
    if (seen.size === acks) child.kill('SIGKILL')
  }
  assert.deepEqual((await exit)[1], 'SIGKILL')
  assert.ok(seen.size >= acks)
  return seen
}
