import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AsyncLog } from './async-log.ts'

const dir = mkdtempSync(join(tmpdir(), 'async-log-'))
after(() => rmSync(dir, { recursive: true }))

test('lines are appended in order, to a file that is its owner’s alone', async () => {
  const path = join(dir, 'deep', 'a.log')
  for (const text of ['one\n', 'two\n']) {
    const log = new AsyncLog(path)
    log.write(text)
    log.write(text)
    await log.close()
  }
  assert.equal(readFileSync(path, 'utf8'), 'one\none\ntwo\ntwo\n')
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('a log never takes more than twice its size', async () => {
  const path = join(dir, 'b.log')
  const log = new AsyncLog(path, 10)
  for (let i = 0; i < 9; i++) {
    log.write(`line${i}\n`)
    await log.close()
  }
  assert.deepEqual(
    [readFileSync(path, 'utf8'), readFileSync(`${path}.1`, 'utf8')],
    ['line8\n', 'line7\n'],
  )
})

test('what the disk cannot take is dropped and counted, and writing goes on when it can', async () => {
  const path = join(dir, 'c.log')
  const log = new AsyncLog(path, undefined, 8)
  mkdirSync(path) // Not a file.
  log.write('refused\n')
  log.write('more\n') // Above what may wait.
  assert.equal(log.droppedBytes, 5)
  await log.close()
  assert.equal(log.droppedBytes, 13)
  rmSync(path, { recursive: true })
  log.write('taken\n')
  await log.close()
  assert.equal(readFileSync(path, 'utf8'), 'taken\n')
})
