import { FairwayError } from '../base/errors.ts'
import {
  addressAt,
  canonicalIp,
  formatIp,
  type Prefix,
  parsePrefix,
  prefixSize,
} from '../base/ip.ts'
import { keys } from '../model/keys.ts'
import type { Op } from '../store/store.ts'
import type { Control } from './context.ts'
import { type AddressPool, reapPool } from './pool.ts'
import { put, type Read } from './transact.ts'

/** Which pools there are, by the configuration. */

export type PooledKind = 'v4' | 'v6'
type Configured = Pick<Control, 'config'>

/** Where apps' public addresses come from. */
export function publicPool(control: Configured, kind: PooledKind): AddressPool {
  const family = kind === 'v4' ? 'IPv4' : 'IPv6'
  const instead = kind === 'v4' ? ', or share one (fairway ips allocate-v4 --shared)' : ''
  return {
    name: kind,
    title: `the ${family} pool`,
    prefixes: parsed(control.config.pools[kind]),
    reserved: new Set(kind === 'v4' ? sharedAddresses(control) : []),
    keyOf: keys.address,
    remedy:
      'release one that nobody needs (fairway ips release <address>), ' +
      `add a prefix to pools.${kind} in the control plane's configuration${instead}`,
  }
}

/** Where egress pairs of a region come from; `global` is the outbound proxies'. */
export function egressPool(control: Configured, region: string, kind: PooledKind): AddressPool {
  const family = kind === 'v4' ? 'IPv4' : 'IPv6'
  return {
    name: `egress-${kind}-${region}`,
    title: `the egress ${family} pool of ${region}`,
    prefixes: parsed(control.config.egressPools[region]?.[kind] ?? []),
    reserved: new Set(),
    keyOf: keys.egressAddress,
    remedy:
      'release one that nobody needs (fairway ips release-egress <address>), ' +
      `or add a prefix to egressPools.${region}.${kind} in the control plane's configuration`,
  }
}

/** Private addresses only rest: none is ever used twice. */
const privatePool: AddressPool = {
  name: 'private_v6',
  title: 'the private IPv6 pool',
  prefixes: [],
  reserved: new Set(),
  keyOf: keys.address,
  remedy: '',
}

/** Ends quarantines whose time is over, in every pool; returns how many. */
export async function reapQuarantine(control: Control): Promise<number> {
  const pools = [publicPool(control, 'v4'), publicPool(control, 'v6'), privatePool]
  for (const region of Object.keys(control.config.egressPools))
    pools.push(egressPool(control, region, 'v4'), egressPool(control, region, 'v6'))
  let reaped = 0
  for (const pool of pools) reaped += await reapPool(control, pool)
  return reaped
}

/** Fly's layout (N19): `fdaa:<network>:0:1::<n>`; n only grows, so none is ever used twice. */
export async function claimPrivate(
  read: Read,
  networkId: number,
): Promise<{ address: string; ops: Op[] }> {
  const counter = keys.counter(`private-v6-${networkId}`)
  const n = ((await read.get<number>(counter)) ?? 0) + 1
  if (n > 0xffff_ffff)
    throw new FairwayError('pool_full', 'the network has no private address left')
  const bits = (0xfdaan << 112n) | (BigInt(networkId) << 80n) | (1n << 48n) | BigInt(n)
  return { address: formatIp({ family: 6, bits }), ops: [put(counter, n)] }
}

/** The addresses that apps share, in the order of the configuration. */
export function sharedAddresses({ config }: Configured): string[] {
  return config.pools.sharedV4.flatMap((text) => {
    const prefix = parsePrefix(text)!
    return Array.from({ length: Number(prefixSize(prefix)) }, (_, i) =>
      addressAt(prefix, BigInt(i)),
    )
  })
}

/** The canonical text; the message is the one that existing clients print (I10). */
export function checkAddress(text: string): string {
  const address = canonicalIp(text)
  if (address !== undefined) return address
  throw new FairwayError('invalid_address', `Invalid IP address: '${text}'`)
}

const parsed = (prefixes: readonly string[]): Prefix[] => prefixes.map((text) => parsePrefix(text)!)
