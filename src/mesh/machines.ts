import { FairwayError } from '../base/errors.ts'
import { addressAt, canonicalIp, formatPrefix, parseIp, parsePrefix } from '../base/ip.ts'
import { MACHINE_GROUP } from '../egress/marks.ts'
import type { Exec } from '../kernel/exec.ts'
import { listGroup, listRoutes } from '../kernel/ip.ts'

/** Names, addresses and firewall elements of machines on their host. */

/** Gateway addresses, equal on every veth. */
export const GATEWAY_V4 = '169.254.0.1'
export const GATEWAY_V6 = 'fe80::1'
export const TABLE = 'inet fairway'

/** Fourteen digits are all that fits a device name after its letter. */
const MACHINE_ID = /^[0-9a-f]{1,14}$/
const DEVICE = /^m([0-9a-f]{1,14})$/

/** The host's end of the machine's veth; the machine's id can be read from it. */
export function deviceOf(id: string): string {
  if (!MACHINE_ID.test(id))
    throw new FairwayError('invalid', `machine id ${id}: expected at most 14 hexadecimal digits`)
  return `m${id}`
}

export const idOfDevice = (device: string): string | undefined => DEVICE.exec(device)?.[1]

export const netnsOf = (id: string): string => `m-${id}`

const ALL_MACHINES = parsePrefix('172.16.0.0/12')!
const MACHINES_PER_HOST = 4_096n

/** The prefix of the private IPv4 addresses of a host's machines. */
export function machinePool(hostIndex: number): string {
  const first = addressAt(ALL_MACHINES, BigInt(hostIndex - 1) * MACHINES_PER_HOST)
  return formatPrefix(parsePrefix(`${first}/20`)!)
}

/** Every address that a machine may send from, canonical. */
export interface MachineAddresses {
  readonly device: string
  readonly v4: readonly string[]
  readonly v6: readonly string[]
  /** Where it may open connections on its host: the machine that it tests. */
  readonly target?: string | undefined
}

export function addressesOf(machine: {
  readonly id: string
  readonly v4: string
  readonly v6: string
  readonly testTarget?: string | null
}): MachineAddresses {
  const v4 = parseIp(machine.v4)
  const v6 = canonicalIp(machine.v6)
  if (v4?.family !== 4) throw badAddress(machine.id, 'v4', machine.v4)
  if (v6 === undefined || parseIp(machine.v6)?.family !== 6)
    throw badAddress(machine.id, 'v6', machine.v6)
  const target = machine.testTarget ? canonicalIp(machine.testTarget) : undefined
  if (machine.testTarget && parseIp(target ?? '')?.family !== 6)
    throw badAddress(machine.id, 'testTarget', machine.testTarget)
  const services = { family: 4, bits: v4.bits + 1n } as const
  return {
    device: deviceOf(machine.id),
    v4: [canonicalIp(machine.v4)!, addressAt({ ...services, length: 32 }, 0n)],
    v6: [v6],
    ...(target !== undefined && { target }),
  }
}

const badAddress = (id: string, field: string, value: string) =>
  new FairwayError('invalid', `machine ${id}: ${field} ${value} is not an address of its family`)

/**
 * The machines that have a veth, with the addresses that the host routes to them. The kernel's own
 * view, from which the firewall's sets can be made again.
 */
export async function observeMachines(exec: Exec): Promise<MachineAddresses[]> {
  const links = await listGroup(exec, MACHINE_GROUP)
  const found = new Map<string, { device: string; v4: string[]; v6: string[] }>()
  for (const { ifname } of links)
    if (idOfDevice(ifname) !== undefined) found.set(ifname, { device: ifname, v4: [], v6: [] })
  if (found.size === 0) return []
  const [routes4, routes6] = await Promise.all([listRoutes(exec, 4), listRoutes(exec, 6)])
  for (const route of routes4)
    if (parseIp(route.dst)) found.get(route.dev ?? '')?.v4.push(route.dst)
  for (const route of routes6)
    if (parseIp(route.dst)) found.get(route.dev ?? '')?.v6.push(route.dst)
  return [...found.values()]
}

/** One transaction for the nft session: the machine's sources are in force. May be repeated. */
export const addElements = (machine: MachineAddresses): string =>
  elements(machine)
    .map(([set, key]) => `add element ${TABLE} ${set} { ${key} }`)
    .join('; ')

/**
 * One transaction: none of the sources is in force. Deleting what is not there would fail, so that
 * each element is added first.
 */
export const removeElements = (machine: MachineAddresses): string =>
  elements(machine)
    .flatMap(([set, key]) => [
      `add element ${TABLE} ${set} { ${key} }`,
      `delete element ${TABLE} ${set} { ${key} }`,
    ])
    .join('; ')

/** Set and key of each element, as in the text of a ruleset. */
export const elements = (machine: MachineAddresses): [set: string, key: string][] => {
  const { device, v4, v6, target } = machine
  return [
    ...v4.map((address): [string, string] => ['src4', `"${device}" . ${address}`]),
    ...v6.map((address): [string, string] => ['src6', `"${device}" . ${address}`]),
    ...(target ? [['tests6', `"${device}" . ${target}`] as [string, string]] : []),
  ]
}
