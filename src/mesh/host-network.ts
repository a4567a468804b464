import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { Converger } from '../base/converge.ts'
import { canonicalIp } from '../base/ip.ts'
import type { Logger } from '../base/log.ts'
import { CommandError, type Exec } from '../kernel/exec.ts'
import { ipBatch, listRoutes, setSysctls } from '../kernel/ip.ts'
import { applyRuleset } from '../kernel/nft.ts'
import {
  loadOrCreateKeys,
  renderConfig,
  showWireguard,
  syncConfig,
  type WireguardKeys,
} from '../kernel/wg.ts'
import { ensureWireguard, type WireguardDevice } from '../kernel/wireguard-device.ts'
import type { Host } from '../model/resources.ts'
import { meshAddress, PORTS } from '../model/wire.ts'
import {
  DNS_ADDRESS,
  type OutboundFirewall,
  planHostAddresses,
  renderFirewall,
} from './firewall.ts'
import { observeMachines, TABLE } from './machines.ts'
import { type PeerOp, planMesh, planPeers, wgSetArguments } from './peers.ts'
import { hostRoutes, planRoutes, ROUTE_PROTOCOL } from './routes.ts'

/** The network of a host: its firewall, its end of the mesh, and the public pools. */
export interface HostNetwork {
  /**
   * Resolves when all of it is in force: first the firewall, then everything that it guards. May be
   * called again, by a successor too; machines that are attached go on undisturbed. Machines must
   * not be attached or detached meanwhile.
   */
  start(): Promise<{ readonly meshPublicKey: string }>
  /** The hosts of the fleet, this one among them. Returns at once; the kernel follows. */
  applyHosts(hosts: readonly Host[]): void
  /** Ends the work, and leaves everything in force. */
  close(): Promise<void>
}

export interface HostNetworkDeps {
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Logger
  readonly host: Pick<Host, 'id' | 'index' | 'underlayV4' | 'underlayV6'>
  /** The interface of the underlay. */
  readonly wanInterface: string
  /** Kept across restarts, mode 0700: the key of the mesh is in it. */
  readonly stateDir: string
  readonly publicPrefixes: readonly string[]
  /** What machines must never reach: the underlay of hosts, the control plane. */
  readonly protectedPrefixes: readonly string[]
  /** Addresses of the routers that may open BGP sessions; none by default. */
  readonly bgpPeers?: readonly string[]
  readonly operatorTcpPorts?: readonly number[]
  /** Addresses of the pools where the host's name server answers the public. */
  readonly nameServers?: readonly string[]
  readonly outbound?: OutboundFirewall
  /** For tests. */
  readonly wireguard?: typeof ensureWireguard
}

export const createHostNetwork = (deps: HostNetworkDeps): HostNetwork => new KernelHostNetwork(deps)

/** WireGuard over IPv4 and Ethernet, with room for an IPv6 underlay. */
const MESH_MTU = 1_420
/** More changes than that go through one file instead of argv. */
const PEER_OPS_IN_ARGV_MAX = 64

const SYSCTLS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv6.conf.all.forwarding': 1,
  // Sources are checked exactly by the firewall; addresses of the pools come in anywhere.
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
  'net.ipv6.conf.all.accept_dad': 0,
  'net.ipv6.conf.default.accept_dad': 0,
  // A machine's router is the host; machines are believed in nothing.
  'net.ipv6.conf.default.accept_ra': 0,
  'net.ipv4.conf.all.accept_redirects': 0,
  'net.ipv4.conf.default.accept_redirects': 0,
  'net.ipv6.conf.default.accept_redirects': 0,
  'net.ipv4.conf.all.send_redirects': 0,
  'net.ipv4.conf.default.send_redirects': 0,
  'net.ipv4.fib_multipath_hash_policy': 1,
  'net.ipv6.fib_multipath_hash_policy': 1,
}

class KernelHostNetwork implements HostNetwork {
  readonly #deps: HostNetworkDeps
  readonly #meshDevice: string
  readonly #hosts: Converger<readonly Host[]>
  #device: WireguardDevice | undefined
  #keys: WireguardKeys | undefined
  #problems = ''

  constructor(deps: HostNetworkDeps) {
    this.#deps = deps
    this.#meshDevice = `wg-${deps.host.id}`
    this.#hosts = new Converger({
      apply: (hosts) => this.#convergeHosts(hosts),
      clock: deps.clock,
      log: deps.log,
    })
  }

  async start(): Promise<{ meshPublicKey: string }> {
    const { exec, stateDir, log, clock, wanInterface, wireguard = ensureWireguard } = this.#deps
    this.#keys = loadOrCreateKeys(join(stateDir, 'mesh.key'))
    await setSysctls(exec, {
      ...SYSCTLS,
      [`net.ipv4.conf.${wanInterface}.rp_filter`]: 0,
      // Machines that leave by the host's address may find that this host's edge is their nearest.
      [`net.ipv4.conf.${wanInterface}.accept_local`]: 1,
    })
    await this.#replaceFirewall()
    this.#device?.close()
    this.#device = await wireguard({
      device: this.#meshDevice,
      exec,
      clock,
      log,
      logFile: join(stateDir, 'wireguard-go.log'),
      onReplaced: () => this.#hosts.again(),
    })
    await this.#convergeDevice()
    return { meshPublicKey: this.#keys.publicKey }
  }

  applyHosts(hosts: readonly Host[]): void {
    this.#hosts.submit(hosts)
  }

  async close(): Promise<void> {
    this.#device?.close()
    await this.#hosts.close()
  }

  /** What is in the sets now stays in them, so that nobody notices the exchange of the table. */
  async #replaceFirewall(): Promise<void> {
    const { exec, host, wanInterface, publicPrefixes, protectedPrefixes, log } = this.#deps
    const [machines, hostAddresses] = await Promise.all([
      observeMachines(exec),
      observeHostAddresses(exec),
    ])
    await applyRuleset(
      exec,
      renderFirewall({
        hostIndex: host.index,
        hostV4: canonicalIp(host.underlayV4) ?? host.underlayV4,
        hostV6: canonicalIp(host.underlayV6) ?? host.underlayV6,
        wanDevice: wanInterface,
        meshDevice: this.#meshDevice,
        publicPrefixes,
        protectedPrefixes,
        bgpPeers: (this.#deps.bgpPeers ?? []).map((peer) => canonicalIp(peer) ?? peer),
        operatorTcpPorts: this.#deps.operatorTcpPorts ?? [],
        nameServers: this.#deps.nameServers ?? [],
        outbound: this.#deps.outbound ?? null,
        hostAddresses,
        machines,
      }),
    )
    log.info({ machines: machines.length }, 'firewall in force')
  }

  /** Key, port, address, routes: whatever an interface that is new lacks, and an old one may. */
  async #convergeDevice(): Promise<void> {
    const { exec, host, stateDir, publicPrefixes } = this.#deps
    const device = this.#meshDevice
    const keys = this.#keys!
    const state = await showWireguard(exec, device)
    if (state.privateKey !== keys.privateKey || state.listenPort !== PORTS.mesh) {
      const port = String(PORTS.mesh)
      const key = join(stateDir, 'mesh.key')
      await exec.run(['wg', 'set', device, 'listen-port', port, 'private-key', key])
    }
    await ipBatch(exec, [
      'link set dev lo up',
      `addr replace ${DNS_ADDRESS}/128 dev lo nodad`,
      ...(this.#deps.nameServers ?? []).filter(isIPv6).map(boundAddress),
      `link set dev ${device} mtu ${MESH_MTU} up`,
      `addr replace ${meshAddress(host.index)}/128 dev ${device} nodad`,
    ])
    const ours = ['table', 'all', 'proto', String(ROUTE_PROTOCOL)]
    const observed = await Promise.all([listRoutes(exec, 4, ours), listRoutes(exec, 6, ours)])
    const desired = hostRoutes({ index: host.index, meshDevice: device, publicPrefixes })
    await ipBatch(exec, planRoutes(desired, observed.flat()))
  }

  async #convergeHosts(hosts: readonly Host[]): Promise<void> {
    const { exec, host, log } = this.#deps
    if (!this.#keys) throw new Error('the host network has not been started')
    await this.#convergeDevice()
    const { peers, problems } = planMesh(hosts, host.id)
    if (problems.join() !== this.#problems) log.warn({ problems }, 'hosts that cannot be peers')
    this.#problems = problems.join()
    const { peers: observed } = await showWireguard(exec, this.#meshDevice)
    await this.#applyPeers(planPeers(peers, observed), peers)

    const others = hosts.filter((h) => h.id !== host.id)
    const desired = others.flatMap((h) => underlayOf(h))
    const commands = planHostAddresses(desired, await observeHostAddresses(exec))
    if (commands.length > 0) await applyRuleset(exec, `${commands.join('\n')}\n`)
  }

  async #applyPeers(ops: PeerOp[], peers: Parameters<typeof renderConfig>[1]): Promise<void> {
    const { exec, stateDir } = this.#deps
    if (ops.length === 0) return
    if (ops.length <= PEER_OPS_IN_ARGV_MAX) {
      await exec.run(wgSetArguments(this.#meshDevice, ops))
      return
    }
    const { privateKey } = this.#keys!
    const config = renderConfig({ privateKey, listenPort: PORTS.mesh }, peers)
    await syncConfig(exec, this.#meshDevice, join(stateDir, 'mesh.conf'), config)
  }
}

/**
 * A local route is enough to receive, and for IPv4 to bind; for IPv6 a socket may bind to what a device
 * has. Deprecated, so that nothing leaves with it unasked; without a route in the main table, where
 * what machines send to the pools looks for the uplink.
 */
const boundAddress = (address: string): string =>
  `addr replace ${address}/128 dev lo nodad noprefixroute preferred_lft 0`

/** Canonical; a host whose addresses cannot be read is reported by the mesh's plan. */
const underlayOf = (host: Host): string[] =>
  [host.underlayV4, host.underlayV6].flatMap((text) => canonicalIp(text) ?? [])

/** The addresses of other hosts that the firewall guards now; none before its first start. */
async function observeHostAddresses(exec: Exec): Promise<string[]> {
  const read = async (set: string) => {
    try {
      return elementsOf(await exec.run(['nft', '-j', 'list', 'set', ...TABLE.split(' '), set]))
    } catch (error) {
      if (error instanceof CommandError && error.stderr.includes('No such file')) return []
      throw error
    }
  }
  return (await Promise.all([read('hosts4'), read('hosts6')])).flat()
}

interface ListedSet {
  readonly nftables: readonly { readonly set?: { readonly elem?: readonly unknown[] } }[]
}

/** The elements of the one set in `nft -j list set`. */
function elementsOf(json: string): string[] {
  const { nftables } = JSON.parse(json) as ListedSet
  return nftables.flatMap((item) => item.set?.elem ?? []).filter((e) => typeof e === 'string')
}
