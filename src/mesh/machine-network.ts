import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseIp } from '../base/ip.ts'
import type { EgressTable } from '../egress/egress-table.ts'
import { MACHINE_GROUP } from '../egress/marks.ts'
import { CommandError, type Exec } from '../kernel/exec.ts'
import {
  batchText,
  findLink,
  ipBatch,
  isMissing,
  isPresent,
  listGroup,
  listNetns,
  listRoutes,
  netnsPath,
} from '../kernel/ip.ts'
import type { NftSession } from '../kernel/nft.ts'
import type { AttachedMachine, MachineNetwork } from '../machine/network.ts'
import { defaultV6 } from '../machine/slot.ts'
import {
  addElements,
  addressesOf,
  deviceOf,
  elements,
  GATEWAY_V4,
  GATEWAY_V6,
  idOfDevice,
  type MachineAddresses,
  netnsOf,
  removeElements,
  TABLE,
} from './machines.ts'
import { portSettings } from './port-settings.ts'

export interface MachineNetworkDeps {
  readonly exec: Exec
  /** A session in the host's namespace; the firewall of the host network must be in force. */
  readonly nft: NftSession
  /** Decides by which source machines leave; started. */
  readonly egress: Pick<EgressTable, 'admit' | 'remove'>
  /** Prefix of the IPv6 addresses of machines with default egress; without one it is the host's. */
  readonly publicPrefix6: string | null
}

export const createMachineNetwork = (deps: MachineNetworkDeps): MachineNetwork =>
  new VethMachineNetwork(deps)

const IN_SETTINGS = 'cd /proc/sys/net'

/**
 * Settings of a machine's namespace, then its addresses from standard input. A shell of its own
 * costs one process; `ip netns exec` would remount /sys for each command.
 *
 * A machine forwards nothing, believes no router, and may listen on every port without privileges.
 */
const INSIDE = [
  IN_SETTINGS,
  'echo 0 >ipv4/ip_forward',
  'echo 0 >ipv6/conf/all/forwarding',
  'echo 0 >ipv6/conf/all/accept_ra',
  'echo 0 >ipv6/conf/eth0/accept_ra',
  'echo 0 >ipv6/conf/eth0/accept_dad',
  'echo 0 >ipv4/ip_unprivileged_port_start',
].join(' && ')

/** The devices of the calling process's own namespace that know IPv6. */
const DEVICES = '/proc/self/net/dev_snmp6'

/** What this process has put in force for a machine, and the namespace it did so in. */
interface Known {
  readonly addresses: MachineAddresses
  readonly inode: number
  /** Commands that its ports were set by. */
  readonly ports: string
}

class VethMachineNetwork implements MachineNetwork {
  readonly #deps: MachineNetworkDeps
  readonly #known = new Map<string, Known>()
  /** Inodes of namespaces that were made and have nothing in them, by machine. */
  readonly #empty = new Map<string, number>()
  /** The last operation on each machine: attaching and detaching must not overlap. */
  readonly #tails = new Map<string, Promise<unknown>>()

  constructor(deps: MachineNetworkDeps) {
    this.#deps = deps
  }

  attach(machine: AttachedMachine, { fresh = false } = {}): Promise<{ netnsPath: string }> {
    return this.#serial(machine.id, () => this.#attach(machine, fresh))
  }

  namespace(machine: AttachedMachine): Promise<{ netnsPath: string }> {
    const { id } = machine
    return this.#serial(id, async () => {
      const netns = netnsOf(id)
      const path = netnsPath(netns)
      // What is there may have to be replaced before anybody stands on it.
      if (existsSync(path) || existsSync(join(DEVICES, deviceOf(id))))
        return this.#attach(machine, true)
      await ipBatch(this.#deps.exec, [`netns add ${netns}`])
      this.#empty.set(id, statSync(path).ino)
      return { netnsPath: path }
    })
  }

  silence(id: string): Promise<void> {
    return this.#serial(id, async () => {
      const known = this.#known.get(id)
      if (known) await this.#deps.nft.transact(removeElements(known.addresses))
    })
  }

  detach(id: string): Promise<void> {
    return this.#serial(id, () => this.#detach(id))
  }

  async list(): Promise<string[]> {
    const links = await listGroup(this.#deps.exec, MACHINE_GROUP)
    return links.flatMap((link) => idOfDevice(link.ifname) ?? [])
  }

  async #attach(machine: AttachedMachine, fresh: boolean): Promise<{ netnsPath: string }> {
    const { exec, nft, publicPrefix6 } = this.#deps
    const addresses = addressesOf(machine)
    const netns = netnsOf(machine.id)
    const path = netnsPath(netns)
    const ports = portSettings(machine.egress)
    const publicV6 = defaultV6(machine.v4, publicPrefix6)
    // The source before all else: without it nothing that the firewall lets through gets out.
    const inForce = this.#deps.egress
      .admit({ ...machine, publicV6 }, { fresh })
      .then(() => nft.transact(addElements(addresses)))
    inForce.catch(() => {}) // Awaited below, also when the rest fails first.
    if (!this.#isInForce(machine.id, addresses)) {
      const empty = this.#empty.get(machine.id)
      this.#known.delete(machine.id)
      this.#empty.delete(machine.id)
      const lines = empty === undefined ? [`netns add ${netns}`] : []
      try {
        await ipBatch(exec, [...lines, ...outside(netns, addresses)])
        await this.#configureInside(netns, addresses, ports)
      } catch (error) {
        if (!isPresent(error)) throw error
        const repair = () => this.#repair(machine.id, addresses, ports)
        // The kernel takes a namespace's devices away some time after the namespace. What the first
        // attempt found may go under its hands; what the second one does not find is gone.
        await repair().catch(repair)
      }
      const inode = statSync(path).ino
      if (empty !== undefined && inode !== empty)
        throw new Error(`the namespace of machine ${machine.id} was replaced while it was attached`)
      this.#known.set(machine.id, { addresses, inode, ports })
    }
    await inForce
    await this.#movePorts(machine.id, ports)
    return { netnsPath: path }
  }

  /**
   * Whether all but the firewall's elements is as this process has left it: the same namespace, and
   * the veth, whose two ends go together. Nobody else changes what is in there.
   */
  #isInForce(id: string, addresses: MachineAddresses): boolean {
    const known = this.#known.get(id)
    if (JSON.stringify(known?.addresses) !== JSON.stringify(addresses)) return false
    const found = statSync(netnsPath(netnsOf(id)), { throwIfNoEntry: false })
    return found?.ino === known?.inode && existsSync(join(DEVICES, addresses.device))
  }

  /** New flows of what runs inside take other ports from now on. */
  async #movePorts(id: string, ports: string): Promise<void> {
    const known = this.#known.get(id)!
    if (known.ports === ports) return
    const argv = [
      'nsenter',
      `--net=${netnsPath(netnsOf(id))}`,
      'sh',
      '-c',
      `${IN_SETTINGS} && ${ports}`,
    ]
    await this.#deps.exec.run(argv)
    this.#known.set(id, { ...known, ports })
  }

  /** Something of it was there already: keeps what is right, since a machine may be running in it. */
  async #repair(id: string, addresses: MachineAddresses, ports: string): Promise<void> {
    const { exec } = this.#deps
    const netns = netnsOf(id)
    const observed = await this.#observe(id)
    const stale = {
      device: addresses.device,
      v4: observed.v4.filter((a) => !addresses.v4.includes(a)),
      v6: observed.v6.filter((a) => !addresses.v6.includes(a)),
    }
    if (stale.v4.length + stale.v6.length > 0) {
      // In force for the new addresses already.
      await this.#detach(id, addresses)
    }
    const [link, names] = await Promise.all([findLink(exec, addresses.device), listNetns(exec)])
    const lines = names.includes(netns) ? [] : [`netns add ${netns}`]
    // Its other end went with another namespace.
    if (link && lines.length > 0) await ipBatch(exec, [`link del dev ${addresses.device}`])
    const create = !link || lines.length > 0
    await ipBatch(exec, [...lines, ...outside(netns, addresses, create)])
    try {
      await this.#configureInside(netns, addresses, ports)
    } catch (error) {
      if (!isMissing(error)) throw error
      // The veth ends in a namespace that lost its name to this one.
      await ipBatch(exec, [`link del dev ${addresses.device}`, ...outside(netns, addresses)])
      await this.#configureInside(netns, addresses, ports)
    }
  }

  /** Takes all of it away, except what is in force for the addresses of `next`. */
  async #detach(id: string, next?: MachineAddresses): Promise<void> {
    const device = deviceOf(id)
    const knownTarget = this.#known.get(id)?.addresses.target
    this.#known.delete(id)
    this.#empty.delete(id)
    const observed = await this.#observe(id)
    // The link goes first: without it nothing can use what is left.
    await this.#remove(`link del dev ${device}`)
    await this.#remove(`netns del ${netnsOf(id)}`)
    const known = observed.v4.length + observed.v6.length > 0
    const all = known ? observed : await this.#observeElements(device)
    const isGone = (address: string) =>
      !next || !(next.v4.includes(address) || next.v6.includes(address))
    const target = all.target ?? knownTarget
    const leftover = { device, v4: all.v4.filter(isGone), v6: all.v6.filter(isGone), target }
    if (elements(leftover).length > 0) await this.#deps.nft.transact(removeElements(leftover))
    await this.#deps.egress.remove([...leftover.v4, ...leftover.v6])
  }

  async #remove(line: string): Promise<void> {
    try {
      await ipBatch(this.#deps.exec, [line])
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  /** The addresses that the host routes to the machine. */
  async #observe(id: string): Promise<MachineAddresses> {
    const device = deviceOf(id)
    const routed = async (family: 4 | 6) => {
      try {
        const routes = await listRoutes(this.#deps.exec, family, ['dev', device])
        return routes.filter((r) => parseIp(r.dst)).map((r) => r.dst)
      } catch (error) {
        if (isMissing(error)) return []
        throw error
      }
    }
    const [v4, v6] = await Promise.all([routed(4), routed(6)])
    return { device, v4, v6 }
  }

  /** What the firewall's sets have for a device whose link is gone; after a crash. */
  async #observeElements(device: string): Promise<MachineAddresses> {
    const read = async (set: string): Promise<string[]> => {
      const argv = ['nft', '-j', 'list', 'set', ...TABLE.split(' '), set]
      try {
        return addressesIn(await this.#deps.exec.run(argv), device)
      } catch (error) {
        if (error instanceof CommandError && error.stderr.includes('No such file')) return []
        throw error
      }
    }
    const [v4, v6, [target] = []] = await Promise.all([read('src4'), read('src6'), read('tests6')])
    return { device, v4, v6, target }
  }

  async #configureInside(netns: string, addresses: MachineAddresses, ports: string): Promise<void> {
    const [v4, services] = addresses.v4
    const script = `${INSIDE} && ${ports} && exec ip -batch -`
    await this.#deps.exec.run(['nsenter', `--net=${netnsPath(netns)}`, 'sh', '-c', script], {
      stdin: batchText([
        'link set dev lo up',
        `addr replace ${v4}/32 dev eth0`,
        `addr replace ${services}/32 dev eth0`,
        `addr replace ${addresses.v6[0]}/128 dev eth0 nodad`,
        'link set dev eth0 up',
        `route replace ${GATEWAY_V4} dev eth0 scope link src ${v4}`,
        `route replace default via ${GATEWAY_V4} dev eth0 src ${v4}`,
        `route replace default via ${GATEWAY_V6} dev eth0`,
      ]),
    })
  }

  async #serial<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(id) ?? Promise.resolve()
    const mine = before.then(work, work)
    this.#tails.set(id, mine)
    try {
      return await mine
    } finally {
      if (this.#tails.get(id) === mine) this.#tails.delete(id)
    }
  }
}

/** The host's half, in lines for `ip -batch`. */
const outside = (netns: string, { device, v4, v6 }: MachineAddresses, create = true): string[] => [
  ...(create ? [`link add name ${device} type veth peer name eth0 netns ${netns}`] : []),
  `link set dev ${device} group ${MACHINE_GROUP}`,
  `addr replace ${GATEWAY_V4}/32 dev ${device}`,
  `addr replace ${GATEWAY_V6}/64 dev ${device} nodad`,
  `link set dev ${device} up`,
  ...v4.map((address) => `route replace ${address}/32 dev ${device}`),
  ...v6.map((address) => `route replace ${address}/128 dev ${device}`),
]

interface ListedPairs {
  readonly nftables: readonly {
    readonly set?: { readonly elem?: readonly { readonly concat?: readonly string[] }[] }
  }[]
}

function addressesIn(json: string, device: string): string[] {
  const { nftables } = JSON.parse(json) as ListedPairs
  return nftables
    .flatMap((item) => item.set?.elem ?? [])
    .flatMap(({ concat }) => (concat?.[0] === device ? [concat[1]!] : []))
}
