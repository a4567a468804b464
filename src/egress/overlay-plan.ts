import { canonicalIp, formatPrefix, parsePrefix } from '../base/ip.ts'
import type { Link, Route, Rule } from '../kernel/ip.ts'
import { meshAddress, PORTS } from '../model/wire.ts'
import {
  OVERLAY_GROUP,
  OVERLAY_MTU,
  ROUTED_MASK,
  STEER_MASK,
  steerMark,
  UPLINK_MARK,
} from './marks.ts'

/** What the overlay of a host is, and the commands that lead there from what the kernel shows. */
export interface OverlayPlan {
  readonly hostIndex: number
  readonly wanDevice: string
  /** Indexes of the other hosts. */
  readonly owners: readonly number[]
  /** Prefixes of sources whose answers come here; what no machine waits for ends here. */
  readonly egressPrefixes: readonly string[]
}

export const OVERLAY_DEVICE = 'overlay'
/** Rules and routes of ours carry this protocol number, so that they can be told apart. */
export const OVERLAY_PROTOCOL = 147

/** No host has index 0. */
const OWNER_TABLES = 10_000
const CLOSED_TABLE = OWNER_TABLES

/**
 * Order of the rules. Marks come before the local table, which the kernel has at 0: what a machine
 * sends to the pools must pass by the routes that make them this host's.
 */
const PRIORITY = { unmarked: 10, uplink: 11, steer: 12, local: 100, own: 110, closed: 111 }

/** Lines for `ip -batch` that make the device; none when it is as it should be. */
export function planDevice(hostIndex: number, link: Link | undefined): string[] {
  const local = meshAddress(hostIndex)
  const data = link?.linkinfo?.info_data
  const isRight =
    link?.linkinfo?.info_kind === 'vxlan' &&
    data?.external === true &&
    data.gpe === true &&
    data.port === PORTS.overlay &&
    data.local6 === local
  const isUp = link?.flags.includes('UP') && link.mtu === OVERLAY_MTU
  if (isRight && isUp && link.group === String(OVERLAY_GROUP)) return []
  const create = `link add name ${OVERLAY_DEVICE} type vxlan external gpe dstport ${PORTS.overlay} local ${local}`
  return [
    ...(link && !isRight ? [`link del dev ${OVERLAY_DEVICE}`] : []),
    ...(isRight ? [] : [create]),
    `link set dev ${OVERLAY_DEVICE} mtu ${OVERLAY_MTU} group ${OVERLAY_GROUP} up`,
  ]
}

export function desiredRules({ wanDevice, owners }: OverlayPlan): Rule[] {
  const hex = (mark: number) => `0x${mark.toString(16)}`
  const [main, closed] = ['main', String(CLOSED_TABLE)]
  return [
    // First, because others lead to it.
    { priority: PRIORITY.local, table: 'local' },
    { priority: PRIORITY.unmarked, fwmark: '0', fwmask: hex(ROUTED_MASK), goto: PRIORITY.local },
    { priority: PRIORITY.uplink, fwmark: hex(UPLINK_MARK), fwmask: hex(STEER_MASK), table: main },
    // Only from the uplink: the mark stays on the outer packet, which must not be steered again.
    ...owners.map((index) => ({
      ...{ priority: PRIORITY.steer, iif: wanDevice },
      ...{ fwmark: hex(steerMark(index)), table: ownerTable(index) },
    })),
    // The host itself answers machines behind static sources, as any server outside would.
    { priority: PRIORITY.own, iif: 'lo', table: main },
    { priority: PRIORITY.closed, table: closed },
  ]
}

/** Lines for `ip -<family> -batch`: what is missing first, then what is no longer wanted. */
export function planRules(desired: readonly Rule[], observed: readonly Rule[]): string[] {
  const ours = observed.filter((rule) => rule.protocol === String(OVERLAY_PROTOCOL))
  const [want, have] = [new Set(desired.map(ruleText)), new Set(ours.map(ruleText))]
  const kernels = observed.find((rule) => rule.priority === 0 && rule.table === 'local')
  const moved = desired.some((rule) => rule.table === 'local')
  return [
    ...[...want].filter((text) => !have.has(text)).map((text) => `rule add ${text}`),
    ...[...have].filter((text) => !want.has(text)).map((text) => `rule del ${text}`),
    ...(kernels && moved ? ['rule del pref 0 lookup local'] : []),
  ]
}

const ruleText = ({ priority, fwmark, fwmask, iif, table, goto }: Rule): string =>
  [
    `pref ${priority}`,
    ...(iif === undefined ? [] : [`iif ${iif}`]),
    ...(fwmark === undefined ? [] : [`fwmark ${fwmark}/${fwmask ?? '0xffffffff'}`]),
    goto === undefined ? `lookup ${table}` : `goto ${goto}`,
    `protocol ${OVERLAY_PROTOCOL}`,
  ].join(' ')

/** Routes of one family, each with the key that the kernel's listing gives it. */
export function desiredRoutes(plan: OverlayPlan, family: 4 | 6): Map<string, string> {
  const self = meshAddress(plan.hostIndex)
  const routes = new Map<string, string>()
  for (const prefix of plan.egressPrefixes) {
    const parsed = parsePrefix(prefix)
    if (parsed?.family !== family) continue
    const text = `blackhole ${formatPrefix(parsed)} table ${CLOSED_TABLE}`
    routes.set(text, text)
  }
  for (const index of plan.owners) {
    const [table, owner] = [ownerTable(index), meshAddress(index)]
    // Without a checksum the other end drops UDP over IPv6 (RFC 8200 section 8.1).
    const tunnel = `encap ip6 id 1 dst ${owner} src ${self} csum dev ${OVERLAY_DEVICE}`
    routes.set(tunnelKey(table, owner, self), `default ${tunnel} table ${table}`)
  }
  return routes
}

/** Lines for `ip -<family> -batch`. */
export function planRoutes(
  desired: ReadonlyMap<string, string>,
  observed: readonly Route[],
): string[] {
  const have = new Map(observed.flatMap((route): [string, string][] => describe(route)))
  /** An owner's table has one route: a new one replaces it. */
  const tables = new Set([...desired.values()].map((text) => text.slice(text.lastIndexOf(' ') + 1)))
  const isReplaced = (key: string, table: string) => key.startsWith('tunnel') && tables.has(table)
  return [
    ...[...desired]
      .filter(([key]) => !have.has(key))
      .map(([, text]) => `route replace ${text} proto ${OVERLAY_PROTOCOL}`),
    ...[...have]
      .filter(([key, table]) => !desired.has(key) && !isReplaced(key, table))
      .map(([key, table]) => (key.startsWith('blackhole') ? key : `default table ${table}`))
      .map((text) => `route del ${text} proto ${OVERLAY_PROTOCOL}`),
  ]
}

/** Key and table. */
function describe(route: Route): [key: string, table: string][] {
  const { table = 'main', dst, encap, src = '' } = route
  if (encap === 'ip6')
    return [[tunnelKey(table, canonicalIp(dst) ?? dst, canonicalIp(src) ?? src), table]]
  const prefix = parsePrefix(dst)
  if (route.type !== 'blackhole' || !prefix) return []
  return [[`blackhole ${formatPrefix(prefix)} table ${table}`, table]]
}

const tunnelKey = (table: string, owner: string, self: string): string =>
  `tunnel ${table} ${owner} from ${self}`

const ownerTable = (index: number): string => String(OWNER_TABLES + index)
