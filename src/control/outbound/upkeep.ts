import { isoTime } from '../../base/clock.ts'
import { keys } from '../../model/keys.ts'
import { type EgressPair, OUTBOUND_INDEX_MAX, type OutboundProxy } from '../../model/resources.ts'
import type { Control } from '../context.ts'
import { put, readAll, transact } from '../transact.ts'
import { stillValid } from './credentials.ts'
import { shareSlots } from './records.ts'

/** Hosts that joined get their share of every outbound proxy's pairs; credentials that ended go. */
export async function keepOutbound(control: Control): Promise<void> {
  const entries = await readAll<OutboundProxy>(control.store, 'outbound/', OUTBOUND_INDEX_MAX + 1)
  const hosts = control.config.hosts.map((host) => host.id)
  for (const { value } of entries) {
    if (stillValid(value, control.clock.now()).length < value.credentials.length)
      await dropEnded(control, value.id)
    for (const pair of value.pairs) await share(control, pair, hosts)
  }
}

async function dropEnded(control: Control, id: string): Promise<void> {
  await transact(control, async (read) => {
    const proxy = await read.get<OutboundProxy>(keys.outbound(id))
    if (!proxy) return { ops: [], result: null }
    const nowMs = control.clock.now()
    const credentials = stillValid(proxy, nowMs)
    const next = { ...proxy, credentials, updatedAt: isoTime(nowMs) }
    const same = credentials.length === proxy.credentials.length
    return { ops: same ? [] : [put(keys.outbound(id), next)], result: null }
  })
}

async function share(control: Control, id: string, hosts: readonly string[]): Promise<void> {
  const { result: without } = await transact(control, async (read) => {
    const pair = await read.get<EgressPair>(keys.egress(id))
    if (!pair) return { ops: [], result: [] }
    const { blocks, without } = shareSlots(pair.blocks, hosts, control.random)
    const same =
      blocks.length === pair.blocks.length &&
      pair.blocks.every(({ host }) => blocks.some((block) => block.host === host))
    const next: EgressPair = { ...pair, blocks, updatedAt: isoTime(control.clock.now()) }
    return { ops: same ? [] : [put(keys.egress(id), next)], result: without }
  })
  if (without.length > 0)
    control.log.warn({ pair: id, hosts: without }, 'no slots left for these hosts; create another')
}
