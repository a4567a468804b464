import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import type { Clock } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import {
  EGRESS_DRAINED_MAX,
  type HostReport,
  type MachineReport,
  REPORT_INTERVAL_MS,
} from '../model/wire.ts'
import { REPORT_MACHINES_MAX, Reporter } from './reporter.ts'

const log = pino({ level: 'silent' })

const machine = (id: string, events: string[] = []): MachineReport => ({
  ...{ machine: id, app: 'a', instanceId: 'i', generation: 1, state: 'started', checks: [] },
  services: [],
  egressProblem: null,
  events: events.map((event) => ({
    ...{ id: event, type: 'start', status: 'started', source: 'flyd', timestamp: 0 },
  })),
  gone: false,
})

/** A reporter whose reports the test takes one by one, and whose time the test moves. */
function setUp() {
  const abort = new AbortController()
  const arrivals: { report: HostReport; answer(error?: Error): void }[] = []
  let arrived = Promise.withResolvers<void>()
  const sleeps: { ms: number; end(): void }[] = []
  const clock: Clock = {
    now: () => 0,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        sleeps.push({ ms, end: resolve })
        signal?.addEventListener('abort', () => reject(new Error('aborted')))
      }),
  }
  const send = (report: HostReport): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    arrivals.push({ report, answer: (error) => (error ? reject(error) : resolve()) })
    arrived.resolve()
    arrived = Promise.withResolvers()
    return promise
  }
  const reporter = new Reporter({ host: 'iad1', send, clock, random: () => 0, log })
  const next = async () => {
    while (arrivals.length === 0) await arrived.promise
    return arrivals.shift()!
  }
  const tick = () => new Promise<void>((resolve) => setImmediate(resolve))
  const sleep = async () => {
    while (sleeps.length === 0) await tick()
    return sleeps.pop()!
  }
  const run = reporter.run('key', abort.signal)
  const close = async () => {
    abort.abort()
    for (const { answer } of arrivals) answer()
    await run
  }
  return { reporter, arrivals, next, sleep, tick, close }
}

test('a sign of life each interval; at once when something changed', async () => {
  const { reporter, arrivals, next, sleep, tick, close } = setUp()
  const first = await next()
  assert.deepEqual(first.report, {
    ...{ host: 'iad1', meshPublicKey: 'key', edgeRevision: null, machines: [] },
    ...{ egressRevision: null, egressDrained: [] },
  })
  first.answer()
  const pause = await sleep()
  assert.equal(pause.ms, REPORT_INTERVAL_MS)
  pause.end()
  ;(await next()).answer()
  await sleep()
  reporter.setEdgeRevision(7)
  const changed = await next()
  assert.equal(changed.report.edgeRevision, 7)
  changed.answer()
  await sleep()
  reporter.setEdgeRevision(7)
  reporter.setEgressDrained([])
  await tick()
  assert.equal(arrivals.length, 0, 'no news')
  reporter.setEgressRevision(9)
  reporter.setEgressDrained([{ pair: 'p1', slot: 3 }])
  const { report, answer } = await next()
  assert.deepEqual([report.egressRevision, report.egressDrained], [9, [{ pair: 'p1', slot: 3 }]])
  answer()
  await close()
})

test('one report at a time; what changes meanwhile goes into the next', async () => {
  const { reporter, arrivals, next, tick, close } = setUp()
  const first = await next()
  for (let i = 1; i <= 50; i++) reporter.setEdgeRevision(i)
  reporter.machine(machine('m'))
  await tick()
  assert.equal(arrivals.length, 0)
  first.answer()
  const { report, answer } = await next()
  assert.equal(report.edgeRevision, 50)
  assert.deepEqual(report.machines, [machine('m')])
  answer()
  await close()
})

test('a machine is reported until it was taken, with every event', async () => {
  const { reporter, next, sleep, close } = setUp()
  ;(await next()).answer()
  await sleep()
  reporter.machine(machine('m', ['1']))
  const lost = await next()
  reporter.machine(machine('m', ['2']))
  lost.answer(new FairwayError('control_unreachable', '', { status: 503 }))
  ;(await sleep()).end()
  const again = await next()
  assert.deepEqual(
    again.report.machines[0]!.events.map((event) => event.id),
    ['1', '2'],
  )
  again.answer()
  await sleep()
  assert.equal(reporter.pending, 0)
  await close()
})

test('what changed while it was sent is sent again', async () => {
  const { reporter, next, close } = setUp()
  ;(await next()).answer()
  reporter.machine(machine('m', ['1']))
  const first = await next()
  reporter.machine({ ...machine('m'), state: 'stopped' })
  first.answer()
  const second = await next()
  assert.equal(second.report.machines[0]!.state, 'stopped')
  second.answer()
  await close()
})

test('the report of a machine that is always refused is given up; the others are taken', async () => {
  const { reporter, next, sleep, close } = setUp()
  ;(await next()).answer()
  await sleep()
  const taken = new Set<string>()
  for (const id of ['a', 'bad', 'c']) reporter.machine(machine(id))
  while (reporter.pending > 0) {
    const { report, answer } = await next()
    if (report.machines.some((m) => m.machine === 'bad')) {
      answer(new FairwayError('invalid', 'bad', { status: 422 }))
      ;(await sleep()).end()
    } else {
      for (const m of report.machines) taken.add(m.machine)
      answer()
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }
  assert.deepEqual([...taken], ['a', 'c'])
  await close()
})

test('many machines go in several reports', async () => {
  const { reporter, next, sleep, tick, close } = setUp()
  ;(await next()).answer()
  await sleep()
  for (let i = 0; i < REPORT_MACHINES_MAX + 5; i++) reporter.machine(machine(`m${i}`))
  const sizes: number[] = []
  while (reporter.pending > 0) {
    const { report, answer } = await next()
    sizes.push(report.machines.length)
    answer()
    await tick()
  }
  assert.equal(
    sizes.reduce((a, b) => a + b),
    REPORT_MACHINES_MAX + 5,
  )
  assert.ok(Math.max(...sizes) <= REPORT_MACHINES_MAX)
  await close()
})

test('no more drained blocks are told than a report may have; the others when those are free', async () => {
  const { reporter, next, sleep, close } = setUp()
  const blocks = Array.from({ length: EGRESS_DRAINED_MAX + 5 }, (_, slot) => ({ pair: 'p', slot }))
  const first = await next()
  reporter.setEgressDrained(blocks)
  first.answer()
  const second = await next()
  assert.deepEqual(second.report.egressDrained, blocks.slice(0, EGRESS_DRAINED_MAX))
  second.answer()
  await sleep()
  reporter.setEgressDrained(blocks.slice(EGRESS_DRAINED_MAX))
  const third = await next()
  assert.deepEqual(third.report.egressDrained, blocks.slice(EGRESS_DRAINED_MAX))
  third.answer()
  await close()
})
