import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { egressPool } from '../address-pools.ts'
import type { Control } from '../context.ts'
import { quarantineOps } from '../pool.ts'
import { del, put, type Read } from '../transact.ts'
import { closeMeter, forgetOldIntervals } from './meter.ts'
import type { EgressAddress } from './records.ts'

/** How egress addresses go back to their pool (I13). */

/** Ends pairs with all their addresses and blocks. */
export async function releasePairOps(
  control: Control,
  read: Read,
  pairs: readonly EgressPair[],
): Promise<Op[]> {
  const ops: Op[] = []
  for (const pair of pairs) {
    const { v4, v6 } = pair
    ops.push(del(keys.egress(pair.id)))
    for (const address of [v4, v6])
      if (address !== null) ops.push(...(await releaseAddressOps(control, read, pair, address)))
  }
  const [first] = pairs
  return first ? [...ops, ...(await forgetOldIntervals(control.clock.now(), read, first.org))] : ops
}

/**
 * Ends one address of a pair: it rests, and is not paid for any more. Hosts with a block of the pair
 * may still send from it, until they have seen that it is not the pair's any more.
 */
export async function releaseAddressOps(
  control: Control,
  read: Read,
  pair: EgressPair,
  address: string,
): Promise<Op[]> {
  const nowMs = control.clock.now()
  const untilMs = nowMs + control.config.quarantineMs
  const rest: EgressAddress = { state: 'quarantined', pair: null, app: null, org: null }
  const hosts = [...new Set(pair.blocks.map((block) => block.host))]
  const pool = egressPool(control, pair.regions[0]!, address.includes(':') ? 'v6' : 'v4')
  return [
    put(keys.egressAddress(address), rest),
    ...quarantineOps(pool.name, address, untilMs, hosts),
    ...(await closeMeter(nowMs, read, pair.org, address)),
  ]
}
