import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EgressBlock, EgressPair } from '../model/resources.ts'
import { pairOnHost } from './egress-pairs.ts'

const block = (slot: number, host: string, state: EgressBlock['state']): EgressBlock => ({
  ...{ slot, count: 1, machine: `m${slot}`, host, state },
})
const pairOf = (regions: string[], blocks: EgressBlock[]) =>
  ({ id: 'p', v4: '198.51.100.2', v6: null, regions, blocks }) as unknown as EgressPair

test('a host tells of its draining blocks, also where the pair is used no more', () => {
  const blocks = [block(3, 'lhr1', 'drain'), block(4, 'lhr1', 'use'), block(5, 'iad1', 'drain')]
  const seen = pairOnHost(pairOf(['iad'], blocks), { id: 'lhr1', region: 'lhr' }, new Map())
  assert.deepEqual(
    seen.draining.map(({ pair, slot }) => [pair, slot]),
    [['p', 3]],
  )
  assert.deepEqual([seen.owners, seen.announced], [[], []], 'no answers enter there')
})
