import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Adoption, CODE_UNKNOWN, planAdoption } from './adoption.ts'
import { type MachineRecord, newRecord } from './record.ts'
import type { Sandbox } from './runtime.ts'
import { fakeMachine } from './testing.ts'

const NOW_MS = 5_000
const exit = { code: 3, oomKilled: false, atMs: 4_000 }
const sandbox = (state: Sandbox['state']): Sandbox => ({
  ...{ state, pid: state === 'stopped' ? 0 : 9, exit: state === 'stopped' ? exit : null },
})
const record = (
  run: Partial<NonNullable<MachineRecord['run']>> | null,
  { policy = 'always', ...change }: Partial<MachineRecord> & { policy?: string } = {},
): MachineRecord => ({
  ...newRecord(fakeMachine({}, { restart: { policy } })),
  ...{ state: 'started', generation: 4, restarts: 2 },
  run: run && { instanceId: 'i', startedAtMs: 1_000, stopRequested: false, ...run },
  ...change,
})
const plan = (r: MachineRecord, state?: Sandbox['state']): Adoption =>
  planAdoption(r, state && sandbox(state), NOW_MS)

const UNSTARTED = { startedAtMs: null }
const begunAgain = (stopRequested = false): Adoption => ({
  found: 'gone',
  change: { run: null, retry: stopRequested ? null : { atMs: NOW_MS, generation: 4 } },
})
const ended = { code: CODE_UNKNOWN, oomKilled: false, atMs: NOW_MS }

test('a start that was under way begins again, whatever is there of it', () => {
  for (const policy of ['no', 'always']) {
    const begun = record(UNSTARTED, { policy })
    assert.deepEqual(plan(begun), begunAgain())
    assert.deepEqual(plan(begun, 'created'), begunAgain())
  }
  assert.deepEqual(plan(record({ ...UNSTARTED, stopRequested: true })), begunAgain(true))
})

test('what runs is taken over; only news is noted', () => {
  assert.deepEqual(plan(record({}), 'running'), { found: 'running', change: null })
  const late = plan(record({}, { state: 'starting' }), 'running')
  assert.deepEqual(late, { found: 'running', change: { state: 'started' } })
  const stopping = plan(record({ stopRequested: true }, { state: 'stopping' }), 'running')
  assert.deepEqual(stopping, { found: 'running', change: null })
  const begun = plan(record(UNSTARTED, { state: 'starting' }), 'running')
  assert.ok(begun.found === 'running' && begun.event?.type === 'start')
  assert.equal(begun.change?.run?.startedAtMs, NOW_MS)
})

test('what has ended is an exit, with its code where somebody saw it', () => {
  for (const run of [{}, UNSTARTED])
    assert.deepEqual(plan(record(run), 'stopped'), { found: 'ended', exit, remove: false })
  for (const run of [{}, UNSTARTED])
    assert.deepEqual(plan(record(run), 'lost'), { found: 'ended', exit: ended, remove: true })
})

test('what went with its host starts again, unless it ends by itself or was asked to', () => {
  const { found, change, event } = plan(record({})) as Extract<Adoption, { found: 'gone' }>
  assert.deepEqual([found, change.state, change.restarts], ['gone', 'starting', 0])
  assert.deepEqual([change.retry, event?.type], [{ atMs: NOW_MS, generation: 4 }, 'restart'])
  for (const over of [record({}, { policy: 'no' }), record({ stopRequested: true })])
    assert.deepEqual(plan(over), { found: 'ended', exit: ended, remove: true })
})

test('what was down stays down, and stands by again if it did', () => {
  const down = record(null, { state: 'stopped' })
  assert.deepEqual(plan(down), { found: 'down', standsBy: false })
  assert.deepEqual(plan(down, 'created'), { found: 'down', standsBy: true })
  assert.deepEqual(plan(down, 'stopped'), { found: 'down', standsBy: false })
  const retrying = record(null, { state: 'restarting' })
  assert.deepEqual(plan(retrying, 'created'), { found: 'down', standsBy: false })
})
