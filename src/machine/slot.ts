import { invalid } from '../base/errors.ts'
import { addressAt, parseIp, parsePrefix } from '../base/ip.ts'

const MACHINES_BASE = parseIp('172.16.0.0')!.bits
const ADDRESSES_PER_HOST = 4096n

/**
 * The slot of a machine on its host, from its private IPv4: host `i` owns 172.16.0.0/12 +
 * (i-1)*4096, slot `n` has `base + 2n` and, as fly-global-services, `base + 2n + 1`.
 */
export function slotOf(v4: string): number {
  const ip = parseIp(v4)
  if (ip?.family !== 4 || ip.bits < MACHINES_BASE || ip.bits >> 20n !== MACHINES_BASE >> 20n)
    throw invalid(`v4 "${v4}" is not a machine's private address: it must lie in 172.16.0.0/12`)
  return Number(((ip.bits - MACHINES_BASE) % ADDRESSES_PER_HOST) / 2n)
}

export const slotName = (v4: string): string => `vm${slotOf(v4)}`

/** The machine's address of the prefix, by its slot on the host. */
export function defaultV6(v4: string, machinesV6: string | null): string | null {
  const prefix = machinesV6 === null ? undefined : parsePrefix(machinesV6)
  return prefix ? addressAt(prefix, BigInt(slotOf(v4))) : null
}
