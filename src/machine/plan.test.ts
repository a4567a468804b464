import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Machine } from '../model/resources.ts'
import { nextStep } from './plan.ts'
import { type MachineRecord, newRecord } from './record.ts'
import { fakeMachine } from './testing.ts'

const machine = fakeMachine()
const fresh = newRecord(machine)
const run = { instanceId: machine.instanceId, startedAtMs: 1, stopRequested: false }
const up: MachineRecord = { ...fresh, state: 'started', generation: 1, run }
const down: MachineRecord = { ...fresh, state: 'stopped', generation: 1 }
const want = (change: Partial<Machine>) => ({ ...machine, generation: 2, ...change })
const NOW_MS = 1_000

const cases: [name: string, record: MachineRecord, target: Machine | null, step: object][] = [
  ['a new machine starts', fresh, machine, { do: 'start' }],
  [
    'a new machine is only created',
    fresh,
    want({ desired: 'created' }),
    { do: 'rest', state: 'created' },
  ],
  ['what runs stays', up, machine, { do: 'idle' }],
  ['starting what runs is nothing', up, want({}), { do: 'rest', state: 'started' }],
  ['what exited stays down', down, machine, { do: 'idle' }],
  ['asked again it starts', down, want({}), { do: 'start' }],
  [
    'stop takes the default signal and time-out',
    up,
    want({ desired: 'stopped' }),
    { do: 'stop', why: 'stop', signal: 'SIGINT', timeoutMs: 5_000 },
  ],
  [
    'the request names signal and time-out',
    up,
    want({ desired: 'stopped', action: { signal: 'TERM', timeoutMs: 900_000 } }),
    { do: 'stop', why: 'stop', signal: 'SIGTERM', timeoutMs: 300_000 },
  ],
  [
    'a kill does not wait',
    up,
    want({ desired: 'destroyed', action: { kill: true } }),
    { do: 'stop', why: 'destroy', signal: 'SIGKILL', timeoutMs: 0 },
  ],
  [
    'nothing runs: stopped at once',
    down,
    want({ desired: 'stopped' }),
    { do: 'rest', state: 'stopped' },
  ],
  [
    'a restart stops first',
    up,
    want({ action: { restart: true } }),
    { do: 'stop', why: 'restart', signal: 'SIGINT', timeoutMs: 5_000 },
  ],
  [
    'a restart that was interrupted after its start is done',
    { ...up, stoppedFor: 2 },
    want({ action: { restart: true } }),
    { do: 'rest', state: 'started' },
  ],
  [
    'what was asked to end, and shall run after all, ends first',
    { ...up, state: 'stopping', run: { ...run, stopRequested: true } },
    want({}),
    { do: 'stop', why: 'restart', signal: 'SIGINT', timeoutMs: 5_000 },
  ],
  [
    'another instance replaces',
    up,
    want({ instanceId: 'other' }),
    { do: 'stop', why: 'replace', signal: 'SIGINT', timeoutMs: 5_000 },
  ],
  ['a signal alone', up, want({ action: { signal: 'hup' } }), { do: 'signal', signal: 'SIGHUP' }],
  [
    'a signal starts nothing',
    down,
    want({ action: { signal: 'hup' } }),
    { do: 'rest', state: 'stopped', retry: null },
  ],
  [
    'nor does it hasten an automatic restart',
    { ...down, state: 'restarting', retry: { atMs: 1_500, generation: 1 } },
    want({ action: { signal: 'hup' } }),
    { do: 'rest', state: 'restarting', retry: { atMs: 1_500, generation: 1 } },
  ],
  [
    'a host that knows nothing of the machine starts it, also when a signal came last',
    fresh,
    want({ action: { signal: 'hup' } }),
    { do: 'start' },
  ],
  [
    'a restart with a signal starts',
    down,
    want({ action: { restart: true, signal: 'hup' } }),
    { do: 'start' },
  ],
  ['no such signal', up, want({ action: { signal: 'nope' } }), { do: 'rest', state: 'started' }],
  [
    'a sandbox without a program is not asked',
    { ...up, run: { ...run, startedAtMs: null } },
    want({ desired: 'stopped' }),
    { do: 'stop', why: 'stop', signal: 'SIGKILL', timeoutMs: 0 },
  ],
  ['destroy what is down', down, want({ desired: 'destroyed' }), { do: 'destroy' }],
  ['unknown to the control plane', down, null, { do: 'destroy' }],
  ['destroyed and asked for no more', { ...down, state: 'destroyed' }, null, { do: 'forget' }],
  ['destroyed stays', { ...down, state: 'destroyed' }, machine, { do: 'idle' }],
  [
    'destroyed by itself, then asked to be',
    { ...down, state: 'destroyed' },
    want({ desired: 'destroyed' }),
    { do: 'rest', state: 'destroyed' },
  ],
  [
    'an automatic restart waits its time',
    { ...down, state: 'restarting', retry: { atMs: 1_500, generation: 1 } },
    machine,
    { do: 'wait', untilMs: 1_500 },
  ],
  [
    'and then starts',
    { ...down, state: 'restarting', retry: { atMs: 1_000, generation: 1 } },
    machine,
    { do: 'start' },
  ],
  [
    'a request does not wait for it',
    { ...down, state: 'restarting', retry: { atMs: 1_500, generation: 1 } },
    want({}),
    { do: 'start' },
  ],
  [
    'auto_destroy',
    { ...down, machine: fakeMachine({}, { auto_destroy: true }) },
    machine,
    { do: 'destroy' },
  ],
]

for (const [name, record, target, step] of cases)
  test(name, () => assert.deepEqual(nextStep(record, target, NOW_MS), step))
