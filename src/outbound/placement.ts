import { addressAt, parsePrefix } from '../base/ip.ts'
import {
  EGRESS_SLOT_PORTS,
  type EgressPair,
  type MachineEgress,
  type OutboundProxy,
} from '../model/resources.ts'
import type { Source } from './directory.ts'

/**
 * Where outbound proxies send from on one host: private addresses that no machine and no other host
 * sees, two for each proxy, which the kernel translates to the host's blocks of the proxy's pairs.
 */

/** The last /20 of the private IPv4 of machines; hosts are given the ones before. */
export const OUTBOUND_PREFIX_V4 = '172.31.240.0/20'
/** The host number 0xffff, which no host has. */
export const OUTBOUND_PREFIX_V6 = 'fdaa:0:0:ffff::/64'
/** The proxies' own, for questions to the host's resolver. */
export const OUTBOUND_BASE_V6 = 'fdaa:0:0:ffff::1'

const V4 = parsePrefix(OUTBOUND_PREFIX_V4)!
const V6 = parsePrefix(OUTBOUND_PREFIX_V6)!
/** IPv6 addresses begin behind the base address. */
const FIRST_V6 = 0x100n

export interface Placed {
  /** Private addresses; the IPv4 one is even, since the next one leaves by the same source. */
  readonly v4: string
  readonly v6: string
  /** What they are translated to. */
  readonly egress: MachineEgress
}

/**
 * The private addresses of a proxy on `host`, with what they stand for: one entry for each of its pairs
 * that is active and has a block there.
 */
export function placeOn(
  host: string,
  proxy: Pick<OutboundProxy, 'index' | 'pairs'>,
  pairOf: (id: string) => EgressPair | undefined,
): Placed[] {
  return proxy.pairs.flatMap((id, side) => {
    const pair = pairOf(id)
    const block = pair?.blocks.find((b) => b.host === host && b.state === 'use' && !b.machine)
    if (!pair || !block || pair.state !== 'active') return []
    const number = BigInt(2 * proxy.index + side)
    const egress = { pair: id, v4: pair.v4, v6: pair.v6, slot: block.slot, count: block.count }
    return [{ v4: addressAt(V4, 2n * number), v6: addressAt(V6, FIRST_V6 + number), egress }]
  })
}

/** The same as a worker uses it. */
export const sourceOf = ({ v4, v6, egress }: Placed): Source => ({
  pair: egress.pair,
  v4: egress.v4 === null ? null : v4,
  v6: egress.v6 === null ? null : v6,
  portMin: Math.max(1, egress.slot * EGRESS_SLOT_PORTS),
  portMax: (egress.slot + egress.count) * EGRESS_SLOT_PORTS - 1,
})
