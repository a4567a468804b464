import { portsOf } from '../egress/blocks.ts'
import type { MachineEgress } from '../model/resources.ts'

/** What the kernel chooses ports from by default, and how it uses those that have just ended. */
const DEFAULT = { ports: '32768 60999', reserved: '', reuse: 2, reuseDelayMs: 1_000 }
/**
 * A block's ports are few: one whose last connection has ended may be used again soon. The far end
 * tells the two apart by their time stamps (RFC 6191).
 */
const REUSE = { reuse: 1, reuseDelayMs: 100 }
const PORT_MAX = 65_535

/**
 * Shell commands, in /proc/sys/net of a machine's namespace, after which its connections begin at
 * ports of its block. Translation keeps them, so that the machine's own kernel knows which are free:
 * it finds each of them, and says at once when there is none.
 */
export function portSettings(egress: MachineEgress | null): string {
  const { ports, reserved, reuse, reuseDelayMs } = egress
    ? { ...rangeOf(egress), ...REUSE }
    : DEFAULT
  return [
    `echo ${reserved} >ipv4/ip_local_reserved_ports`,
    `echo ${ports} >ipv4/ip_local_port_range`,
    `echo ${reuse} >ipv4/tcp_tw_reuse`,
    // Kernels before 6.14 do not have it: they wait a second.
    `{ echo ${reuseDelayMs} 2>/dev/null >ipv4/tcp_tw_reuse_delay || :; }`,
  ].join(' && ')
}

/**
 * `connect` searches an even number of ports and may miss the last of an odd one: slot 0, which has
 * no port 0, borrows its neighbour and reserves it.
 */
function rangeOf(egress: MachineEgress): { ports: string; reserved: string } {
  const { low, high, count } = portsOf(egress)
  if (count % 2 === 0 || high === PORT_MAX) return { ports: `${low} ${high}`, reserved: '' }
  return { ports: `${low} ${high + 1}`, reserved: String(high + 1) }
}
