import assert from 'node:assert/strict'
import { test } from 'node:test'
import { notFound } from '../base/errors.ts'
import { planExit, planFailedStart } from './ends.ts'
import { type MachineRecord, newRecord } from './record.ts'
import { fakeMachine } from './testing.ts'

const NOW_MS = 5_000
const CHANCE = { nowMs: NOW_MS, random: () => 0 }
const RUN = { instanceId: 'i', startedAtMs: 1_000, stopRequested: false }
const record = (change: Partial<MachineRecord> = {}, policy = 'on-failure'): MachineRecord => ({
  ...newRecord(fakeMachine({}, { restart: { policy, max_retries: 2 } })),
  ...{ state: 'started', generation: 4, restarts: 0, run: RUN },
  ...change,
})
const exit = (code: number) => ({ code, oomKilled: false, atMs: 4_000 })
const types = (events: readonly { type: string }[]) => events.map(({ type }) => type)

test('a run that fails begins again, until it has failed too often', () => {
  for (const restarts of [0, 1]) {
    const { change, events, restart } = planExit(record({ restarts }), null, exit(3), CHANCE)
    assert.deepEqual(
      [change.run, change.state, change.restarts, change.retry?.generation],
      [null, 'restarting', restarts + 1, 4],
    )
    assert.equal(change.retry!.atMs, NOW_MS + restart.delayMs!)
    assert.deepEqual(types(events), ['exit', 'restart'])
  }
  const { change, events, restart } = planExit(record({ restarts: 2 }), null, exit(3), CHANCE)
  assert.deepEqual([change.state, change.retry, restart.exhausted], ['stopped', null, true])
  assert.deepEqual(types(events), ['exit'])
})

test('a run that ends well stays down', () => {
  const { change, events } = planExit(record(), null, exit(0), CHANCE)
  assert.deepEqual([change.state, change.retry, change.restarts], ['stopped', null, 0])
  assert.deepEqual(types(events), ['exit'])
})

test('a stop that was asked for is no failure, and says which word it followed', () => {
  const asked = { run: { ...RUN, stopRequested: true }, state: 'stopping', stoppedFor: 2 } as const
  const target = (generation: number) => ({ ...fakeMachine(), generation })
  for (const [wanted, stoppedFor] of [
    [undefined, 2],
    [null, 2],
    [target(4), 2],
    [target(5), 5],
  ] as const) {
    const { change, restart } = planExit(record(asked), wanted, exit(137), CHANCE)
    assert.deepEqual(
      [change.state, change.retry, change.stoppedFor, restart.delayMs],
      ['stopping', null, stoppedFor, null],
    )
  }
})

test('a restart by itself whose sandbox cannot be made follows the policy', () => {
  const plan = (policy: string, restarts: number, attempt: number) => {
    const failure = { error: new Error('fork: out of memory'), attempt }
    const before = record({ restarts }, policy)
    return planFailedStart(before, { ...before.machine, generation: 4 }, failure, CHANCE)
  }
  for (const restarts of [0, 3, 300]) {
    const { change, events, isFinal } = plan('always', restarts, restarts)
    assert.deepEqual([isFinal, change.run, change.restarts], [false, null, restarts + 1])
    assert.equal(change.retry!.generation, 4)
    assert.ok(change.retry!.atMs >= NOW_MS)
    assert.deepEqual(events, [])
  }
  assert.equal(plan('on-failure', 1, 5).isFinal, false)
  const last = plan('on-failure', 2, 6)
  assert.deepEqual([last.isFinal, last.change.state, last.change.retry], [true, 'failed', null])
  assert.deepEqual(types(last.events), ['start'])
})

test('a bundle of which no sandbox could be made is written anew', () => {
  const stamp = {
    ...{ version: 1, instanceId: 'i', secretsVersion: 1, artifact: 'a' },
    ...{ publicIp: '::1', system: 's' },
  }
  const bundleAfter = (run: MachineRecord['run'], error: Error) => {
    const before = record({ run, bundle: stamp })
    const failure = { error, attempt: 0 }
    return { ...before, ...planFailedStart(before, fakeMachine(), failure, CHANCE).change }.bundle
  }
  assert.equal(bundleAfter(RUN, new Error('mount source is gone')), null)
  assert.equal(bundleAfter(RUN, notFound('no such command')), null)
  assert.equal(bundleAfter(null, new Error('no room')), stamp, 'it was not tried')
})

test('a start that fails is tried again; what cannot succeed is not', () => {
  const plan = (run: MachineRecord['run'], error: Error, attempt: number) =>
    planFailedStart(
      record({ run }),
      { ...fakeMachine(), generation: 5 },
      { error, attempt },
      CHANCE,
    )
  const busy = new Error('no room')
  // Nothing was made: the host lacks something that may come.
  for (const attempt of [0, 2, 20]) {
    const { change, events, isFinal } = plan(null, busy, attempt)
    assert.deepEqual([isFinal, change.state, events], [false, undefined, []])
    assert.equal(change.retry!.generation, 5)
    assert.ok(change.retry!.atMs >= NOW_MS && change.retry!.atMs <= NOW_MS + 5_000)
  }
  assert.deepEqual(
    [0, 1, 2].map((n) => plan(RUN, busy, n).isFinal),
    [false, false, true],
  )
  const refused = notFound('no such artifact')
  const { change, events, isFinal } = plan(null, refused, 0)
  assert.deepEqual([isFinal, change.state, change.retry], [true, 'failed', null])
  assert.deepEqual(events[0]!.request, { error: 'no such artifact' })
})
