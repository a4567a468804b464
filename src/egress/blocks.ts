import { EGRESS_SLOT_PORTS } from '../model/resources.ts'
import { OVERLAY_MTU } from './marks.ts'

/** Adjacent slots of an egress address. */
export interface Block {
  readonly slot: number
  readonly count: number
}

/** The first and the last port of a block; slot 0 has no port 0. */
export function portsOf({ slot, count }: Block): { low: number; high: number; count: number } {
  const low = Math.max(1, slot * EGRESS_SLOT_PORTS)
  const high = (slot + count) * EGRESS_SLOT_PORTS - 1
  return { low, high, count: high - low + 1 }
}

/**
 * The two chains of a block, shared by all machines that have the same slots of whichever address.
 * `use` is where new connections are let through, `nat` where they get their source.
 */
export const useChain = ({ slot, count }: Block): string => `use_${slot}_${count}`
export const natChain = ({ slot, count }: Block): string => `nat_${slot}_${count}`

const BLOCK_CHAIN = /^(?:use|nat)_(\d+)_(\d+)$/

export const isBlockChain = (name: string): boolean => BLOCK_CHAIN.test(name)

/** The block that a chain belongs to. */
export function blockOfChain(name: string): Block | undefined {
  const found = BLOCK_CHAIN.exec(name)
  return found ? { slot: Number(found[1]), count: Number(found[2]) } : undefined
}

/** The largest TCP segment, without IP and TCP headers, whose answer fits the overlay. */
const MSS = { ip: OVERLAY_MTU - 40, ip6: OVERLAY_MTU - 60 }

/**
 * Rules of a block's chains. Connections to one destination are counted before they are translated:
 * the machine's kernel chooses ports in the block only, so that one too many ends there, but who
 * binds other ports would otherwise meet a translation that searches and drops in silence.
 */
export function blockRules(block: Block): ReadonlyMap<string, readonly string[]> {
  const { low, high, count } = portsOf(block)
  const counted = (set: string, over: number) => (family: 'ip' | 'ip6') =>
    `meta l4proto { tcp, udp } add @${set}${family === 'ip' ? 4 : 6} ` +
    `{ ${family} saddr . meta mark . ${family} daddr . meta l4proto . th dport ct count over ${over} }`
  const [last, beyond] = [counted('last', count - 1), counted('beyond', count)]
  const use = [
    'meta l4proto != { tcp, udp, icmp, ipv6-icmp } goto other_protocol',
    // Blocks of different places must not be counted together, also while a machine moves.
    `meta mark set ${block.count * 64 + block.slot}`,
    `meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size set ${MSS.ip}`,
    `meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size set ${MSS.ip6}`,
    `${beyond('ip')} goto over_limit`,
    `${beyond('ip6')} goto over_limit`,
    `${last('ip')} goto block_full`,
    `${last('ip6')} goto block_full`,
  ]
  const nat = [
    `meta l4proto { tcp, udp, icmp } snat ip to ip saddr map @addr4 : ${low}-${high}`,
    `meta l4proto { tcp, udp, ipv6-icmp } snat ip6 to ip6 saddr map @addr6 : ${low}-${high}`,
  ]
  return new Map([
    [useChain(block), use],
    [natChain(block), nat],
  ])
}
