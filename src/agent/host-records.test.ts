import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedState } from './feed-state.ts'
import { HostRecords } from './host-records.ts'

const address = (text: string) => ({
  ...{ address: text, kind: 'v4', state: 'attached', region: 'iad' },
})

test('an address that a snapshot has no more is not the region’s any more', () => {
  const state = new FeedState()
  const records = new HostRecords(state, { id: 'iad1', region: 'iad' }, () => {})
  const snapshot = (revision: number, ...addresses: string[]) => {
    state.apply({ t: 'snapshot' })
    state.apply({
      t: 'events',
      revision,
      events: addresses.map((one) => ['put', `address/${one}`, address(one), revision]),
    })
    return records.update(state.apply({ t: 'synced', revision }))
  }
  snapshot(1, '203.0.113.17', '203.0.113.18')
  assert.deepEqual([...records.regional], ['203.0.113.17', '203.0.113.18'])
  assert.equal(snapshot(2, '203.0.113.18').regional, true)
  assert.deepEqual([...records.regional], ['203.0.113.18'])
})
