import { MACHINE_GROUP, STEER_MARK, STEER_MASK } from './marks.ts'

/** `family name` of the table that the agent keeps. */
export const EGRESS_TABLE = 'inet egress'

/** Why a packet was not let out; the number stands in the sets of drops. */
export const DROP_REASONS = {
  /** The machine has no source: it was not admitted. */
  no_source: 1,
  /** Translation gave it another source than the machine's own. */
  wrong_source: 2,
  /** All ports of its block are in use towards this destination. */
  over_limit: 3,
  /** Its pair has no address of this family. */
  closed_family: 4,
  /** Of protocols other than TCP, UDP and ICMP, answers could not be told apart. */
  other_protocol: 5,
} as const
export type DropReason = keyof typeof DROP_REASONS

/** Destinations that are counted at once; further ones are not limited here (their ports are). */
const COUNTED_MAX = 65_536
const DROPPERS_MAX = 4_096
const FULL_MAX = 4_096
/** How long it is remembered who was dropped, and whose block was full; in seconds. */
export const REMEMBERED_S = 3_600

/**
 * The fixed part of the table. By default nothing of a machine leaves: it takes an element of
 * `gate` to be let through, of `source` to be translated, and of `pairs` not to be dropped after
 * that, whatever translation did. Blocks' chains are added as they are needed.
 */
export const renderTable = ({ wanDevice }: { readonly wanDevice: string }): string =>
  `${[...counters(), ...sets()].join('\n')}
${gate(wanDevice)}
${drops()}
${translation(wanDevice)}
${steering(wanDevice)}
`

const counters = (): string[] =>
  [...Object.keys(DROP_REASONS), 'block_full', 'steered'].map((name) => `  counter ${name} {\n  }`)

const sets = (): string[] =>
  (['4', '6'] as const).flatMap((v) => {
    const address = `ipv${v}_addr`
    const [ip, counted] = [v === '4' ? 'ip' : 'ip6', `${address} . inet_proto . inet_service`]
    return [
      set(`map gate${v}`, `type ${address} : verdict`),
      set(`map source${v}`, `type ${address} : verdict`),
      set(`map addr${v}`, `type ${address} : ${address}`),
      set(`map pairs${v}`, `type ${address} . ${address} : verdict`),
      set(`map owner${v}`, `typeof ${ip} daddr . @th,16,6 : meta mark`),
      ...['last', 'beyond'].map((name) =>
        set(
          `set ${name}${v}`,
          `type ${address} . mark . ${counted}; size ${COUNTED_MAX}; flags dynamic`,
        ),
      ),
      set(
        `set full${v}`,
        `type ${address} . ${counted}; size ${FULL_MAX}; flags dynamic,timeout; timeout ${REMEMBERED_S}s`,
      ),
      set(
        `set drops${v}`,
        `type ${address} . mark; size ${DROPPERS_MAX}; flags dynamic,timeout; timeout ${REMEMBERED_S}s`,
      ),
    ]
  })

const set = (name: string, body: string): string => `  ${name} {\n    ${body};\n  }`

/** After the host's firewall has let it through. */
const gate = (wan: string): string => `
  chain gate {
    type filter hook forward priority filter + 10; policy accept;
    oifname != "${wan}" return
    iifgroup != ${MACHINE_GROUP} return
    ct state != new return
    ip saddr vmap @gate4
    ip6 saddr vmap @gate6
    goto no_source
  }
  chain block_full {
    update @full4 { ip saddr . ip daddr . meta l4proto . th dport counter }
    update @full6 { ip6 saddr . ip6 daddr . meta l4proto . th dport counter }
    counter name "block_full"
  }`

const drops = (): string =>
  (Object.keys(DROP_REASONS) as DropReason[])
    .map(
      (reason) => `
  chain ${reason} {
    meta mark set ${DROP_REASONS[reason]}
    update @drops4 { ct original ip saddr . meta mark counter }
    update @drops6 { ct original ip6 saddr . meta mark counter }
    counter name "${reason}"
    ${END[reason].join('\n    ')}
  }`,
    )
    .join('')

/** Who can act upon it is told at once: a second family is tried, a pool opens no more. */
const REFUSE = ['meta l4proto tcp reject with tcp reset', 'reject with icmpx type admin-prohibited']
const END: Readonly<Record<DropReason, readonly string[]>> = {
  no_source: ['drop'],
  wrong_source: ['drop'],
  over_limit: REFUSE,
  closed_family: REFUSE,
  other_protocol: REFUSE,
}

const translation = (wan: string): string => `
  chain source {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "${wan}" iifgroup ${MACHINE_GROUP} goto source_of_machine
  }
  chain source_of_machine {
    ip saddr vmap @source4
    ip6 saddr vmap @source6
  }
  chain nat_default {
    snat ip to ip saddr map @addr4
    snat ip6 to ip6 saddr map @addr6
  }
  chain check {
    type filter hook postrouting priority srcnat + 20; policy accept;
    # The host's own packets have no group of arrival, by which even "is not" would tell nothing.
    oifname "${wan}" iifgroup ${MACHINE_GROUP} goto check_machine
  }
  chain check_machine {
    ct original ip saddr . ip saddr vmap @pairs4
    ct original ip6 saddr . ip6 saddr vmap @pairs6
    goto wrong_source
  }`

/**
 * Answers to slots of other hosts are marked for them, without a trace in connection tracking. The
 * upper six bits of a port, or of the identifier of an echo, are the slot; in an ICMP error they are
 * found in the packet that it quotes (behind 20 bytes of IPv4, or 40 of IPv6 and perhaps a fragment
 * header).
 */
const steering = (wan: string): string => {
  const by = (slot: string, match = '') =>
    (['4', '6'] as const)
      .map((v) => `${match}meta mark set ip${v === '4' ? '' : '6'} daddr . ${slot} map @owner${v}`)
      .join('\n    ')
  const steered = `meta mark & ${STEER_MASK} == ${STEER_MARK} counter name "steered" notrack`
  return `
  chain steer {
    type filter hook prerouting priority raw - 10; policy accept;
    iifname != "${wan}" return
    meta l4proto { tcp, udp } goto steer_port
    icmp type echo-reply goto steer_echo
    icmpv6 type echo-reply goto steer_echo
    icmp type { destination-unreachable, time-exceeded, parameter-problem } goto steer_error4
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } goto steer_error6
  }
  chain steer_port {
    ${by('@th,16,6')}
    ${steered}
  }
  chain steer_echo {
    ${by('@th,32,6')}
    ${steered}
  }
  chain steer_error4 {
    @th,136,8 { 6, 17 } meta mark set ip daddr . @th,224,6 map @owner4
    @th,136,8 1 meta mark set ip daddr . @th,256,6 map @owner4
    ${steered}
  }
  chain steer_error6 {
    @th,112,8 { 6, 17 } meta mark set ip6 daddr . @th,384,6 map @owner6
    @th,112,8 58 meta mark set ip6 daddr . @th,416,6 map @owner6
    @th,112,8 44 @th,400,13 0 @th,384,8 { 6, 17 } meta mark set ip6 daddr . @th,448,6 map @owner6
    ${steered}
  }`
}
