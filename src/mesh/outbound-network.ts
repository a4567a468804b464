import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { canonicalIp } from '../base/ip.ts'
import type { EgressTable } from '../egress/egress-table.ts'
import { MACHINE_GROUP } from '../egress/marks.ts'
import type { Exec } from '../kernel/exec.ts'
import { batchText, ipBatch, isPresent, listNetns, listRoutes, netnsPath } from '../kernel/ip.ts'
import type { MachineEgress } from '../model/resources.ts'
import { GATEWAY_V4, GATEWAY_V6 } from './machines.ts'

/** The host's end of the outbound proxy's veth. */
export const OUTBOUND_DEVICE = 'outbound'
/** Namespaces of a machine with several hosts have names of their own. */
export const outboundNetns = (host: string): string => `out-${host}`

/** Two private addresses that leave by a block of one pair. */
export interface OutboundSource {
  readonly v4: string
  readonly v6: string
  readonly egress: MachineEgress
}

export interface OutboundNetworkDeps {
  readonly exec: Exec
  readonly egress: EgressTable
  readonly host: string
  /** What the proxies ask the host's resolver from. */
  readonly baseV6: string
}

/**
 * The network of the outbound proxy: one namespace, shut off like a machine's, in which every proxy's
 * addresses are. Ports are chosen per connection from the whole range: each socket names its own.
 */
export class OutboundNetwork {
  readonly #deps: OutboundNetworkDeps
  readonly #netns: string
  /** What was put in force, by private IPv4. */
  #known: ReadonlyMap<string, OutboundSource> = new Map()
  #isMade = false

  constructor(deps: OutboundNetworkDeps) {
    this.#deps = deps
    this.#netns = outboundNetns(deps.host)
  }

  /** Makes the namespace, or keeps the one that is there with what runs in it. */
  async #make(): Promise<void> {
    const { exec, baseV6 } = this.#deps
    const names = await listNetns(exec)
    if (!names.includes(this.#netns)) await ipBatch(exec, [`netns add ${this.#netns}`])
    const isThere = existsSync(join(DEVICES, OUTBOUND_DEVICE))
    const link = isThere
      ? []
      : [`link add name ${OUTBOUND_DEVICE} type veth peer name eth0 netns ${this.#netns}`]
    await ipBatch(exec, [
      ...link,
      `link set dev ${OUTBOUND_DEVICE} group ${MACHINE_GROUP}`,
      `addr replace ${GATEWAY_V4}/32 dev ${OUTBOUND_DEVICE}`,
      `addr replace ${GATEWAY_V6}/64 dev ${OUTBOUND_DEVICE} nodad`,
      `link set dev ${OUTBOUND_DEVICE} up`,
      `route replace ${baseV6}/128 dev ${OUTBOUND_DEVICE}`,
    ])
    await this.#inside([
      'link set dev lo up',
      `addr replace ${baseV6}/128 dev eth0 nodad`,
      'link set dev eth0 up',
      `route replace default via ${GATEWAY_V6} dev eth0 src ${baseV6}`,
    ])
    this.#known = new Map()
    this.#isMade = true
  }

  /**
   * Brings the sources to these, and makes their network when it is first needed. Translation comes
   * first, then the addresses that may be sent from; those that are gone go the other way round. Flows
   * of a source that changed keep what they began with.
   */
  async apply(sources: readonly OutboundSource[]): Promise<void> {
    const { exec, egress } = this.#deps
    if (!this.#isMade) {
      if (sources.length === 0 && !existsSync(join(DEVICES, OUTBOUND_DEVICE))) return
      await this.#make()
    }
    const desired = new Map(sources.map((source) => [source.v4, source]))
    const before = this.#known
    const changed = sources.filter((s) => !same(before.get(s.v4), s))
    const observed = await this.#observe()
    const kept = new Set(sources.flatMap(({ v4, v6 }) => [v4, v6]))
    const gone = observed.filter((address) => !kept.has(address))
    if (gone.length > 0) {
      await this.#inside(
        gone.map((address) => `addr del ${lengthOf(address)} dev eth0`),
        true,
      )
      await ipBatch(
        exec,
        gone.map((address) => `route del ${lengthOf(address)} dev ${OUTBOUND_DEVICE}`),
      )
      await egress.remove(gone)
    }
    for (const source of changed) await egress.admit({ ...source, publicV6: null })
    const there = new Set(observed)
    const added = [...kept].filter((address) => !there.has(address))
    if (added.length > 0) {
      await this.#inside([
        ...added.map((a) => `addr replace ${lengthOf(a)} dev eth0${nodad(a)}`),
        ...ROUTES_V4,
      ])
      await ipBatch(
        exec,
        added.map((address) => `route replace ${lengthOf(address)} dev ${OUTBOUND_DEVICE}`),
      )
    }
    this.#known = desired
  }

  /** The addresses that the host routes to the namespace, but for the base. */
  async #observe(): Promise<string[]> {
    const { exec, baseV6 } = this.#deps
    const of = ['dev', OUTBOUND_DEVICE]
    const routes = await Promise.all([listRoutes(exec, 4, of), listRoutes(exec, 6, of)])
    return routes.flat().flatMap(({ dst }) => {
      const address = canonicalIp(dst)
      return address === undefined || address === baseV6 ? [] : [address]
    })
  }

  /** Lines for `ip -batch` within the namespace, after its settings. */
  async #inside(lines: readonly string[], mayBeGone = false): Promise<void> {
    const script = `${SETTINGS} && exec ip ${mayBeGone ? '-force ' : ''}-batch -`
    const argv = ['nsenter', `--net=${netnsPath(this.#netns)}`, 'sh', '-c', script]
    try {
      await this.#deps.exec.run(argv, { stdin: batchText(lines) })
    } catch (error) {
      if (!mayBeGone && !isPresent(error)) throw error
    }
  }
}

/** The devices of the calling process's own namespace that know IPv6. */
const DEVICES = '/proc/self/net/dev_snmp6'

/**
 * Every port may be chosen: a socket's own range must lie within this one. One whose connection has
 * ended is used again soon (see port-settings.ts).
 */
const SETTINGS = [
  'cd /proc/sys/net',
  'echo 0 >ipv4/ip_forward',
  'echo 0 >ipv6/conf/all/forwarding',
  'echo 0 >ipv6/conf/all/accept_ra',
  'echo 0 >ipv6/conf/eth0/accept_ra',
  'echo 0 >ipv6/conf/eth0/accept_dad',
  'echo 0 >ipv4/ip_unprivileged_port_start',
  'echo 1 65535 >ipv4/ip_local_port_range',
  'echo 1 >ipv4/tcp_tw_reuse',
  '{ echo 100 2>/dev/null >ipv4/tcp_tw_reuse_delay || :; }',
].join(' && ')

/** Each time addresses are added: with a device's last IPv4 address the kernel takes these away. */
const ROUTES_V4 = [
  `route replace ${GATEWAY_V4} dev eth0 scope link`,
  `route replace default via ${GATEWAY_V4} dev eth0`,
]

const lengthOf = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`
const nodad = (address: string): string => (address.includes(':') ? ' nodad' : '')

const same = (a: OutboundSource | undefined, b: OutboundSource): boolean =>
  a !== undefined && JSON.stringify(a) === JSON.stringify(b)
