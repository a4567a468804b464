import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { systemClock } from '../base/clock.ts'
import type { EgressTable } from '../egress/egress-table.ts'
import type { EgressPair } from '../model/resources.ts'
import { createHostEgress } from './host-egress.ts'

test('pairs’ addresses are held at once; a revision is in force when others were let go', async () => {
  const said: string[] = []
  const table = {
    drained: async () => [],
    hold: (addresses: Iterable<string>) => said.push(`hold ${[...addresses].join(' ')}`),
    steer: async () => {},
    letGo: async () => said.push('let go'),
    close: async () => {},
  } as unknown as EgressTable
  const egress = createHostEgress({
    ...{ host: { id: 'iad1', region: 'iad' }, table, overlay: { apply: async () => {} } },
    ...{ clock: systemClock, log: pino({ level: 'silent' }) },
  })
  egress.follow({
    inForce: ({ revision }) => said.push(`in force ${revision}`),
    drained: () => {},
  })
  const pair = (v4: string | null, v6: string | null, region: string) =>
    ({ id: `${v4} ${v6}`, v4, v6, regions: [region], blocks: [] }) as unknown as EgressPair
  const pairs = [pair('198.51.100.2', null, 'iad'), pair('198.51.100.3', '2001:db8::3', 'lhr')]
  egress.apply({
    ...{ revision: 7, hosts: new Map(), outbound: [] },
    pairs: new Map(pairs.map((one) => [one.id, one])),
  })
  assert.deepEqual(said, ['hold 198.51.100.2 198.51.100.3 2001:db8::3'], 'before machines are told')
  await egress.ready()
  assert.deepEqual(said.slice(1), ['let go', 'in force 7'])
  await egress.close()
})
