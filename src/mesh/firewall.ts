import { formatPrefix, parsePrefix } from '../base/ip.ts'
import {
  MACHINE_GROUP,
  OVERLAY_GROUP,
  STEER_MARK,
  STEER_MASK,
  UPLINK_MARK,
} from '../egress/marks.ts'
import { PORTS } from '../model/wire.ts'
import {
  elements,
  GATEWAY_V4,
  GATEWAY_V6,
  type MachineAddresses,
  machinePool,
  TABLE,
} from './machines.ts'

export interface Firewall {
  readonly hostIndex: number
  /** The host's own underlay addresses. */
  readonly hostV4: string
  readonly hostV6: string
  readonly wanDevice: string
  readonly meshDevice: string
  /** Pools whose TCP goes to the edge. */
  readonly publicPrefixes: readonly string[]
  /** Addresses of the pools where the host's name server answers. */
  readonly nameServers: readonly string[]
  /** What machines must never reach: hosts, control plane. */
  readonly protectedPrefixes: readonly string[]
  /** Null: the host has no outbound proxy. */
  readonly outbound: OutboundFirewall | null
  /** Underlay addresses of the other hosts. */
  readonly hostAddresses: readonly string[]
  readonly machines: readonly MachineAddresses[]
  /** The routers that the host's BIRD speaks BGP with; nobody else may reach it. */
  readonly bgpPeers: readonly string[]
  /** TCP ports of the host itself that stay open on its underlay, such as 22. */
  readonly operatorTcpPorts: readonly number[]
}

/** The outbound proxy: where clients reach it, and where it sends from. */
export interface OutboundFirewall {
  /** Addresses of the pools whose OUTBOUND_PORTS it answers; none where there is no such proxy. */
  readonly addresses: readonly string[]
  /** Its veth, and what may be sent from it. */
  readonly device: string
  readonly prefixV4: string
  readonly prefixV6: string
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
const OUTBOUND_PORTS = [PORTS.outboundHttp, PORTS.outboundSocks, PORTS.outboundTls].join(', ')

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
}
`
}

function sets(f: Firewall): string {
  const isolated = [...NEVER_OUTSIDE, ...f.protectedPrefixes]
  const sources = f.machines.flatMap(elements)
  const of = (set: string) => sources.filter(([name]) => name === set).map(([, key]) => key)
  return [
    set('public4', 'ipv4_addr; flags interval; auto-merge', byFamily(f.publicPrefixes, 4)),
    set('public6', 'ipv6_addr; flags interval; auto-merge', byFamily(f.publicPrefixes, 6)),
    set('names4', 'ipv4_addr', addresses(f.nameServers, 4)),
    set('names6', 'ipv6_addr', addresses(f.nameServers, 6)),
    set('outbound4', 'ipv4_addr', addresses(f.outbound?.addresses ?? [], 4)),
    set('outbound6', 'ipv6_addr', addresses(f.outbound?.addresses ?? [], 6)),
    set('isolated4', 'ipv4_addr; flags interval; auto-merge', byFamily(isolated, 4)),
    set('isolated6', 'ipv6_addr; flags interval; auto-merge', byFamily(isolated, 6)),
    set('hosts4', 'ipv4_addr', addresses(f.hostAddresses, 4)),
    set('hosts6', 'ipv6_addr', addresses(f.hostAddresses, 6)),
    set('src4', 'ifname . ipv4_addr', of('src4')),
    set('src6', 'ifname . ipv6_addr', of('src6')),
    set('tests6', 'ifname . ipv6_addr', of('tests6')),
  ].join('\n')
}

/** The same without the length, for sets of single addresses. */
const addresses = (of: readonly string[], family: 4 | 6): string[] =>
  byFamily(of, family).map((prefix) => prefix.split('/')[0]!)

function set(name: string, type: string, keys: readonly string[]): string {
  const body = keys.length > 0 ? ` elements = { ${keys.join(', ')} };` : ''
  return `  set ${name} { type ${type};${body} }`
}

/**
 * Sources first, then steering: what comes to the pools is for the edge and needs no connection
 * tracking. A machine of this host is tracked on its way out and comes back with its public source,
 * like anybody: its edge is whichever the routers find nearest, also when this host has none.
 */
const prerouting = (f: Firewall): string => `
  chain raw_prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifgroup ${MACHINE_GROUP} jump machine_source
    iifgroup ${OVERLAY_GROUP} jump foreign_source
    iifname "${f.wanDevice}" jump own_source
    iifgroup ${MACHINE_GROUP} return
    ip daddr @public4 meta l4proto { tcp, icmp } notrack
    ip6 daddr @public6 meta l4proto { tcp, icmpv6 } notrack
    iifname "${f.meshDevice}" udp dport ${PORTS.overlay} notrack
    ip daddr @names4 udp dport 53 notrack
    ip6 daddr @names6 udp dport 53 notrack
  }
  chain raw_output {
    type filter hook output priority raw; policy accept;
    # To a machine that left by the host's own address: tracked, so that it is translated back here.
    ip daddr ${f.hostV4} return
    ip6 daddr ${f.hostV6} return
    ip saddr @public4 meta l4proto { tcp, icmp } notrack
    ip6 saddr @public6 meta l4proto { tcp, icmpv6 } notrack
    oifname "${f.meshDevice}" udp dport ${PORTS.overlay} notrack
    ip saddr @names4 udp sport 53 notrack
    ip6 saddr @names6 udp sport 53 notrack
  }
  chain machine_source {
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } return
    ${f.outbound ? outboundSources(f.outbound) : '# no outbound proxy'}
    meta nfproto ipv6 iifname . ip6 saddr @src6 return
    meta nfproto ipv4 iifname . ip saddr @src4 return
    counter drop
  }
  chain foreign_source {
    ip saddr { ${NEVER_OUTSIDE.filter((p) => !p.includes(':')).join(', ')} } counter drop
    ip6 saddr { fc00::/7, ff00::/8 } counter drop
  }
  chain own_source {
    ip6 saddr fdaa::/16 counter drop
    ip saddr ${machinePool(f.hostIndex)} counter drop
    # Own machines come back with it, to the pools alone.
    ip saddr ${f.hostV4} ip daddr != @public4 counter drop
    ip6 saddr ${f.hostV6} ip6 daddr != @public6 counter drop
    # Edges speak to clients, not to each other.
    ip saddr @public4 ip daddr @public4 counter drop
    ip6 saddr @public6 ip6 daddr @public6 counter drop
  }
  chain steer {
    type filter hook prerouting priority mangle; policy accept;
    iifgroup ${MACHINE_GROUP} goto uplink
    iifname "${f.meshDevice}" return
    ip daddr @names4 tcp dport 53 return
    ip6 daddr @names6 tcp dport 53 return
    iifgroup ${OVERLAY_GROUP} return
    ip daddr @outbound4 tcp dport { ${OUTBOUND_PORTS} } tproxy ip to :${PORTS.outbound} meta mark set ${STEERED_MARK} accept
    ip6 daddr @outbound6 tcp dport { ${OUTBOUND_PORTS} } tproxy ip6 to :${PORTS.outbound} meta mark set ${STEERED_MARK} accept
    ip daddr @public4 meta l4proto tcp tproxy ip to :${PORTS.edge} meta mark set ${STEERED_MARK} accept
    ip6 daddr @public6 meta l4proto tcp tproxy ip6 to :${PORTS.edge} meta mark set ${STEERED_MARK} accept
  }
  chain uplink {
    ip daddr @public4 meta mark set ${UPLINK_MARK}
    ip6 daddr @public6 meta mark set ${UPLINK_MARK}
  }`

const outboundSources = ({ device, prefixV4, prefixV6 }: OutboundFirewall): string =>
  [`ip saddr ${prefixV4}`, `ip6 saddr ${prefixV6}`]
    .map((source) => `iifname "${device}" ${source} return`)
    .join('\n    ')

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
    ip daddr @names4 meta l4proto { tcp, udp } th dport 53 accept
    ip6 daddr @names6 meta l4proto { tcp, udp } th dport 53 accept
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
    ip6 saddr fdaa::/48 udp dport ${PORTS.overlay} accept
  }
  chain from_machine {
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
    ip6 daddr ${DNS_ADDRESS} meta l4proto { tcp, udp } th dport 53 accept
    icmp type echo-request ip daddr { ${GATEWAY_V4} } accept
    icmpv6 type echo-request ip6 daddr { ${GATEWAY_V6}, ${DNS_ADDRESS} } accept
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
    iifname "${f.wanDevice}" oifgroup ${OVERLAY_GROUP} meta mark & ${STEER_MASK} == ${STEER_MARK} accept
    # A machine check (S38) may open connections to the machine that it tests, on this host.
    iifgroup ${MACHINE_GROUP} oifgroup ${MACHINE_GROUP} iifname . ip6 daddr @tests6 accept
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
