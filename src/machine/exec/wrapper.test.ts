import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasBegun, readStatus } from './wrapper.ts'

const INFO = '[INFO  tini (12)]'

test('an exit with 143 and an end by signal 15 are two things', () => {
  const exited = `begun\n${INFO} Main child exited normally (with status '143')\ncode=143\n`
  const killed = `begun\n${INFO} Main child exited with signal (with signal 'Terminated')\ncode=143\n`
  assert.deepEqual(readStatus(exited), { code: 143, signal: 0, found: true })
  assert.deepEqual(readStatus(killed), { code: 143, signal: 15, found: true })
})

test('no status before the end, nor when it was cut off', () => {
  for (const notes of ['', 'begun\n', 'begun\ncode=', `begun\n${INFO} Spawned child process\n`])
    assert.equal(readStatus(notes), undefined)
  assert.equal(hasBegun(''), false)
  assert.equal(hasBegun('begun\n'), true)
})

test('a command that is not there is told from one that exits with 127', () => {
  assert.equal(readStatus('begun\nnot-found\ncode=127\n')?.found, false)
  assert.equal(readStatus('begun\ncode=127\n')?.found, true)
})
