import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Machine, MachineState } from '../../model/resources.ts'
import { isSettled, shownState } from './state.ts'

type Row = readonly [
  name: string,
  asked: Partial<Machine>,
  seen: readonly [generation: number, state: MachineState, instanceId?: string],
  shown: MachineState,
]

const rows: readonly Row[] = [
  ['made', {}, [0, 'created'], 'starting'],
  ['made, not launched', { desired: 'created', generation: 0 }, [0, 'created'], 'created'],
  ['running', {}, [1, 'started'], 'started'],
  ['exited by itself', {}, [1, 'stopped'], 'stopped'],
  ['cannot start', {}, [1, 'failed'], 'failed'],
  ['asked to stop', { desired: 'stopped', generation: 2 }, [1, 'started'], 'stopping'],
  ['asked to start', { generation: 3 }, [2, 'stopped'], 'starting'],
  ['restart', { generation: 2, action: { restart: true } }, [1, 'started'], 'restarting'],
  ['signal', { generation: 2, action: { signal: 'SIGHUP' } }, [1, 'started'], 'started'],
  ['update', { generation: 2, instanceId: 'b' }, [1, 'started'], 'replacing'],
  ['update before launch', { generation: 1, instanceId: 'b' }, [0, 'created'], 'starting'],
  [
    'update without launch',
    { generation: 1, instanceId: 'b', desired: 'created' },
    [0, 'created'],
    'created',
  ],
  ['destroy', { desired: 'destroyed', generation: 2 }, [1, 'started'], 'destroying'],
  ['destroyed', { desired: 'destroyed', generation: 2 }, [1, 'destroyed'], 'destroyed'],
]

for (const [name, asked, [generation, state, instanceId = 'a'], shown] of rows) {
  test(`${name} is shown as ${shown}`, () => {
    const machine = { desired: 'started', generation: 1, action: null, instanceId: 'a', ...asked }
    assert.equal(shownState(machine as Machine, { generation, state, instanceId }), shown)
  })
}

test('settled is where nothing is under way', () => {
  const settled: MachineState[] = [
    'created',
    'started',
    'stopped',
    'suspended',
    'destroyed',
    'failed',
  ]
  const moving: MachineState[] = ['starting', 'stopping', 'replacing', 'restarting', 'destroying']
  assert.ok(settled.every(isSettled))
  assert.ok(!moving.some(isSettled))
})
