import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OutboundUser } from './directory.ts'
import { Meter, meterMemory } from './meter.ts'

test('octets beyond the limit are taken off the seconds after', () => {
  let nowMs = 1_000_000
  const meter = new Meter(meterMemory(1), 1, 0, () => nowMs)
  const limits = { connections: null, newPerSecond: null, bytesPerSecond: 100 * 1024 }
  const user = { slot: 1, name: 'u1', served: { limits } } as unknown as OutboundUser
  assert.equal(meter.bytes(user, 50 * 1024), true)
  assert.equal(meter.bytes(user, 256 * 1024), false, 'one read more than it has')
  const after = []
  for (let second = 0; second < 4; second++) {
    after.push(meter.hasBytes(user))
    nowMs += 1_000
  }
  assert.deepEqual(after, [false, false, false, true], '306 kB at 100 kB a second')
  nowMs += 60_000
  assert.equal(meter.bytes(user, 99 * 1024), true, 'nothing is saved up, nothing is owed for ever')
  assert.equal(meter.bytes(user, 1024), false)
})
