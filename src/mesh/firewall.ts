import { formatPrefix, parsePrefix } from '../base/ip.ts'
import { PORTS } from '../model/wire.ts'
import {
  elements,
  GATEWAY_V4,
  GATEWAY_V6,
  MACHINE_GROUP,
  type MachineAddresses,
  machinePool,
  TABLE,
} from './machines.ts'

export interface Firewall {
  readonly hostIndex: number
  readonly wanDevice: string
  readonly meshDevice: string
  /** Pools whose TCP goes to the edge. */
  readonly publicPrefixes: readonly string[]
  /** What machines must never reach: hosts, control plane. */
  readonly protectedPrefixes: readonly string[]
  /** Underlay addresses of the other hosts. */
  readonly hostAddresses: readonly string[]
  readonly machines: readonly MachineAddresses[]
  /** The routers that the host's BIRD speaks BGP with; nobody else may reach it. */
  readonly bgpPeers: readonly string[]
  /** TCP ports of the host itself that stay open on its underlay, such as 22. */
  readonly operatorTcpPorts: readonly number[]
}

/** Marks packets that the edge's listener was given; unlike their addresses, it cannot be forged. */
const STEERED_MARK = '0x40000000'
/** Where machines ask for names. */
export const DNS_ADDRESS = 'fdaa::3'
/** Private, link-local, loopback, multicast and reserved: nothing a machine could reach outside. */
const NEVER_OUTSIDE = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '224.0.0.0/3',
  'fc00::/7',
]
const ECHO_PER_SECOND_MAX = 1_000

/**
 * The host's whole ruleset. Everything is dropped unless a line below lets it in, and a machine may
 * send from its own addresses alone. Replaces the table in one transaction.
 */
export function renderFirewall(firewall: Firewall): string {
  return `table ${TABLE} {
}
delete table ${TABLE}
table ${TABLE} {
${sets(firewall)}
${prerouting(firewall)}
${input(firewall)}
${forward(firewall)}
${postrouting(firewall)}
}
`
}

function sets(f: Firewall): string {
  const isolated = [...NEVER_OUTSIDE, ...f.protectedPrefixes]
  const sources = f.machines.flatMap(elements)
  const of = (set: string) => sources.filter(([name]) => name === set).map(([, key]) => key)
  const hosts = (family: 4 | 6) => byFamily(f.hostAddresses, family).map((p) => p.split('/')[0]!)
  return [
    set('public4', 'ipv4_addr; flags interval; auto-merge', byFamily(f.publicPrefixes, 4)),
    set('public6', 'ipv6_addr; flags interval; auto-merge', byFamily(f.publicPrefixes, 6)),
    set('isolated4', 'ipv4_addr; flags interval; auto-merge', byFamily(isolated, 4)),
    set('isolated6', 'ipv6_addr; flags interval; auto-merge', byFamily(isolated, 6)),
    set('hosts4', 'ipv4_addr', hosts(4)),
    set('hosts6', 'ipv6_addr', hosts(6)),
    set('src4', 'ifname . ipv4_addr', of('src4')),
    set('src6', 'ifname . ipv6_addr', of('src6')),
  ].join('\n')
}

function set(name: string, type: string, keys: readonly string[]): string {
  const body = keys.length > 0 ? ` elements = { ${keys.join(', ')} };` : ''
  return `  set ${name} { type ${type};${body} }`
}

/** Sources first, then steering: TCP to the pools goes to the edge and needs no connection tracking. */
const prerouting = (f: Firewall): string => `
  chain raw_prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifgroup ${MACHINE_GROUP} jump machine_source
    iifname "${f.wanDevice}" ip6 saddr fdaa::/16 counter drop
    iifname "${f.wanDevice}" ip saddr ${machinePool(f.hostIndex)} counter drop
    ip daddr @public4 meta l4proto tcp notrack
    ip6 daddr @public6 meta l4proto tcp notrack
  }
  chain raw_output {
    type filter hook output priority raw; policy accept;
    ip saddr @public4 meta l4proto tcp notrack
    ip6 saddr @public6 meta l4proto tcp notrack
  }
  chain machine_source {
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } return
    meta nfproto ipv6 iifname . ip6 saddr @src6 return
    meta nfproto ipv4 iifname . ip saddr @src4 return
    counter drop
  }
  chain steer {
    type filter hook prerouting priority mangle; policy accept;
    iifname "${f.meshDevice}" return
    ip daddr @public4 meta l4proto tcp tproxy ip to :${PORTS.edge} meta mark set ${STEERED_MARK} accept
    ip6 daddr @public6 meta l4proto tcp tproxy ip6 to :${PORTS.edge} meta mark set ${STEERED_MARK} accept
  }`

const input = (f: Firewall): string => `
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    meta mark ${STEERED_MARK} accept
    iifgroup ${MACHINE_GROUP} goto from_machine
    ct state established,related accept
    jump essentials
    iifname "${f.wanDevice}" goto from_wan
    iifname "${f.meshDevice}" goto from_mesh
  }
  chain essentials {
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query } accept
    icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
    icmp type echo-request limit rate ${ECHO_PER_SECOND_MAX}/second accept
    icmpv6 type echo-request limit rate ${ECHO_PER_SECOND_MAX}/second accept
  }
  chain from_wan {
    ip daddr @public4 meta l4proto tcp goto refuse
    ip6 daddr @public6 meta l4proto tcp goto refuse
    ${bgp(f.bgpPeers)}
    ip ttl 255 udp dport 3784 accept
    ip6 hoplimit 255 udp dport 3784 accept
    udp dport { 3785, ${PORTS.mesh} } accept
    ${f.operatorTcpPorts.length > 0 ? `tcp dport { ${f.operatorTcpPorts.join(', ')} } accept` : '# no port of the operator'}
  }
  chain from_mesh {
    ip6 saddr fdaa::/48 tcp dport ${PORTS.backhaul} accept
  }
  chain from_machine {
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
    ip6 daddr ${DNS_ADDRESS} meta l4proto { tcp, udp } th dport 53 accept
    icmp type echo-request ip daddr { ${GATEWAY_V4} } accept
    icmp type echo-request ip daddr @public4 accept
    icmpv6 type echo-request ip6 daddr { ${GATEWAY_V6}, ${DNS_ADDRESS} } accept
    icmpv6 type echo-request ip6 daddr @public6 accept
    goto refuse
  }
  chain refuse {
    meta l4proto tcp reject with tcp reset
    counter reject with icmpx admin-prohibited
  }`

const bgp = (peers: readonly string[]): string =>
  peers.length === 0
    ? '# no BGP peer'
    : peers
        .map((peer) => `${peer.includes(':') ? 'ip6' : 'ip'} saddr ${peer} tcp dport 179 accept`)
        .join('\n    ')

const forward = (f: Firewall): string => `
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifgroup ${MACHINE_GROUP} goto machine_out
  }
  chain machine_out {
    oifname != "${f.wanDevice}" goto refuse
    ip daddr @isolated4 goto refuse
    ip daddr @hosts4 goto refuse
    ip6 daddr @isolated6 goto refuse
    ip6 daddr @hosts6 goto refuse
    meta nfproto ipv6 ip6 daddr != 2000::/3 goto refuse
    accept
  }`

/** What translation missed (an entry without it, say) must not leave with a private source. */
const postrouting = (f: Firewall): string => `
  chain source_nat {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${f.wanDevice}" ip saddr ${machinePool(f.hostIndex)} masquerade
    oifname "${f.wanDevice}" ip6 saddr fdaa::/16 masquerade
  }
  chain leak_guard {
    type filter hook postrouting priority srcnat + 20; policy accept;
    oifname "${f.wanDevice}" ip saddr ${machinePool(f.hostIndex)} counter drop
    oifname "${f.wanDevice}" ip6 saddr fdaa::/16 counter drop
  }`

/** The canonical prefixes of one family; throws on what is none, since a rule must not go missing. */
function byFamily(prefixes: readonly string[], family: 4 | 6): string[] {
  return prefixes.flatMap((text) => {
    const prefix = parsePrefix(text)
    if (!prefix) throw new Error(`firewall: ${text} is not a prefix; write it as address/length`)
    return prefix.family === family ? [formatPrefix(prefix)] : []
  })
}

/** Commands for one transaction that makes the sets of hosts' addresses equal; empty when they are. */
export function planHostAddresses(
  desired: readonly string[],
  observed: readonly string[],
): string[] {
  const [want, have] = [new Set(desired), new Set(observed)]
  const setOf = (address: string) => (address.includes(':') ? 'hosts6' : 'hosts4')
  return [
    ...[...want]
      .filter((a) => !have.has(a))
      .map((a) => `add element ${TABLE} ${setOf(a)} { ${a} }`),
    ...[...have]
      .filter((a) => !want.has(a))
      .map((a) => `delete element ${TABLE} ${setOf(a)} { ${a} }`),
  ]
}
