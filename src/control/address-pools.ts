import { isoTime } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import {
  addressAt,
  canonicalIp,
  formatIp,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixSize,
} from '../base/ip.ts'
import { keys } from '../model/keys.ts'
import type { Address } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import type { Control } from './context.ts'
import { del, type Page, put, type Read, readPage, transact } from './transact.ts'

/**
 * Where addresses come from, and where released ones wait. In order: never used ones (a cursor per
 * prefix of the pool), then those used before, least recently used first. Nothing here depends on
 * how many apps or addresses there are. Prefixes too large to run out of are drawn from at random
 * instead, so that allocations do not race for a cursor.
 *
 * A released address is in `quarantine/` until its time is over, then in `free-address/`; a prefix
 * that leaves the configuration takes its free addresses along.
 */

/** Prefixes with more addresses are drawn from at random. */
const CURSOR_ADDRESSES_MAX = 65_536n
const RANDOM_DRAWS_MAX = 16
const REAP_BATCH = 32
const REAP_BATCHES_MAX = 64
const FREE_PAGE = 16

export type PooledKind = 'v4' | 'v6'

export interface Claim {
  readonly address: string
  readonly ops: readonly Op[]
}

/** The lane for allocations of this kind; none where they do not race for one key. */
export const laneOf = (control: Control, kind: PooledKind): { lane?: string } =>
  poolPrefixes(control, kind).every(isRandom) ? {} : { lane: `pool/${kind}` }

/** A free address, and what to write to have taken it; undefined when there is none. */
export async function claimFromPool(
  control: Control,
  read: Read,
  kind: PooledKind,
): Promise<Claim | undefined> {
  const prefixes = poolPrefixes(control, kind)
  return (
    (await drawAtRandom(control, read, prefixes.filter(isRandom))) ??
    (await takeNeverUsed(control, read, prefixes)) ??
    (await takeUsedBefore(control, read, kind, prefixes))
  )
}

/** Fly's layout (N19): `fdaa:<network>:0:1::<n>`; n only grows, so none is ever used twice. */
export async function claimPrivate(read: Read, networkId: number): Promise<Claim> {
  const counter = keys.counter(`private-v6-${networkId}`)
  const n = ((await read.get<number>(counter)) ?? 0) + 1
  if (n > 0xffff_ffff)
    throw new FairwayError('pool_full', 'the network has no private address left')
  const bits = (0xfdaan << 112n) | (BigInt(networkId) << 80n) | (1n << 48n) | BigInt(n)
  return { address: formatIp({ family: 6, bits }), ops: [put(counter, n)] }
}

/** What to write beside the address record so that it waits, and then becomes free. */
export const quarantineOps = (kind: Address['kind'], address: string, untilMs: number): Op[] => [
  put(keys.quarantine(kind, untilMs, address), { address }),
]

/**
 * Ends quarantines whose time is over: the record goes, the address becomes free. Returns how many.
 * Bounded per call; what is left is for the next one.
 */
export async function reapQuarantine(control: Control): Promise<number> {
  let reaped = 0
  for (const kind of ['v4', 'v6', 'private_v6'] as const) {
    for (let batch = 0; batch < REAP_BATCHES_MAX; batch++) {
      const { result } = await transact(control, (read) => planReap(control, read, kind))
      reaped += result
      if (result < REAP_BATCH) break
    }
  }
  return reaped
}

/** Names the pool, how it stands and what to do. */
export async function poolFull(control: Control, kind: PooledKind): Promise<FairwayError> {
  const waiting = await readPage<FreeAddress>(control.store, `quarantine/${kind}/`)
  const name = kind === 'v4' ? 'IPv4' : 'IPv6'
  const prefixes = control.config.pools[kind]
  const total = poolPrefixes(control, kind).reduce((sum, p) => sum + prefixSize(p), 0n)
  const count = `${waiting.entries.length}${waiting.more ? '+' : ''}`
  const next = waiting.entries[0] && untilOf(waiting.entries[0].key)
  const quarantined =
    next === undefined
      ? 'none in quarantine'
      : `${count} in quarantine, the next free at ${isoTime(next)}`
  const instead = kind === 'v4' ? ', or share one (fairway ips allocate-v4 --shared)' : ''
  return new FairwayError(
    'pool_full',
    `the ${name} pool (${prefixes.join(', ') || 'no prefixes'}) is full: ${total} addresses, ${quarantined}; ` +
      `release one that nobody needs (fairway ips release <address>), add a prefix to pools.${kind} in the control plane's configuration${instead}`,
  )
}

export function poolPrefixes({ config }: Pick<Control, 'config'>, kind: PooledKind): Prefix[] {
  return config.pools[kind].map((text) => parsePrefix(text)!)
}

/** The addresses that apps share, in the order of the configuration. */
export function sharedAddresses({ config }: Pick<Control, 'config'>): string[] {
  return config.pools.sharedV4.flatMap((text) => {
    const prefix = parsePrefix(text)!
    return Array.from({ length: Number(prefixSize(prefix)) }, (_, i) =>
      addressAt(prefix, BigInt(i)),
    )
  })
}

const isRandom = (prefix: Prefix): boolean => prefixSize(prefix) > CURSOR_ADDRESSES_MAX

async function drawAtRandom(
  control: Control,
  read: Read,
  prefixes: readonly Prefix[],
): Promise<Claim | undefined> {
  if (prefixes.length === 0) return undefined
  for (let draw = 0; draw < RANDOM_DRAWS_MAX; draw++) {
    const prefix = prefixes[Math.floor(control.random() * prefixes.length)]!
    const address = addressAt(prefix, randomIndex(control.random, prefixSize(prefix)))
    if ((await read.get(keys.address(address))) === undefined) return { address, ops: [] }
  }
  return undefined
}

/** 64 random bits, cut to the prefix; never 0, the routers' anycast. */
function randomIndex(random: () => number, size: bigint): bigint {
  const word = () => BigInt(Math.floor(random() * 2 ** 32))
  const index = ((word() << 32n) | word()) % size
  return index === 0n ? 1n : index
}

async function takeNeverUsed(
  control: Control,
  read: Read,
  prefixes: readonly Prefix[],
): Promise<Claim | undefined> {
  const shared = new Set(sharedAddresses(control))
  for (const prefix of prefixes) {
    if (isRandom(prefix)) continue
    const cursor = keys.poolCursor(`${formatIp(prefix)}/${prefix.length}`)
    let index = BigInt((await read.get<number>(cursor)) ?? 0)
    for (; index < prefixSize(prefix); index++) {
      const address = addressAt(prefix, index)
      if (shared.has(address) || isUnwise(prefix, index, address)) continue
      // Taken already when the pool's prefixes were changed to overlap older ones.
      if ((await read.peek(keys.address(address))) !== undefined) continue
      if ((await read.get(keys.address(address))) !== undefined) continue
      return { address, ops: [put(cursor, Number(index) + 1)] }
    }
  }
  return undefined
}

/**
 * Old clients and filters take .0 and .255 for a network's own, and an IPv6 prefix's first address is
 * its routers' anycast (RFC 4291 section 2.6.1).
 */
const isUnwise = (prefix: Prefix, index: bigint, address: string): boolean =>
  prefix.family === 4 ? /\.(0|255)$/.test(address) : index === 0n && prefix.length < 127

async function takeUsedBefore(
  control: Control,
  read: Read,
  kind: PooledKind,
  prefixes: readonly Prefix[],
): Promise<Claim | undefined> {
  const shared = new Set(sharedAddresses(control))
  // One that left the configuration stays in the list: its prefix may come back.
  const isOurs = (address: string) =>
    !shared.has(address) && prefixes.some((prefix) => prefixContains(prefix, parseIp(address)!))
  let after = ''
  for (;;) {
    const page: Page<FreeAddress> = await read.range(`free-address/${kind}/`, {
      limit: FREE_PAGE,
      after,
    })
    for (const { key, value } of page.entries) {
      after = key
      if (!isOurs(value.address)) continue
      const claim = await takeFree(read, key, value.address)
      if (claim) return claim
    }
    if (!page.more) return undefined
  }
}

async function takeFree(read: Read, key: string, address: string): Promise<Claim | undefined> {
  // Taken although listed: when a cursor came by after the pool's prefixes were changed.
  if ((await read.peek(keys.address(address))) !== undefined) return undefined
  if ((await read.get(key)) === undefined) return undefined
  if ((await read.get(keys.address(address))) !== undefined) return undefined
  return { address, ops: [del(key)] }
}

interface FreeAddress {
  readonly address: string
}

async function planReap(control: Control, read: Read, kind: Address['kind']) {
  const page = await read.range<FreeAddress>(`quarantine/${kind}/`, { limit: REAP_BATCH })
  const nowMs = control.clock.now()
  const ops: Op[] = []
  let reaped = 0
  for (const { key, value } of page.entries) {
    const untilMs = untilOf(key)
    if (untilMs > nowMs) break
    const { address } = value
    const record = await read.get<Address>(keys.address(address))
    if ((await read.get(key)) === undefined) continue
    ops.push(del(key))
    if (record?.state === 'quarantined') ops.push(del(keys.address(address)))
    if (isPooled(control, kind, address)) {
      ops.push(put(keys.freeAddress(kind, untilMs, address), { address }))
    }
    reaped += 1
  }
  return { ops, result: reaped }
}

/** Random and private addresses need no list of free ones. */
function isPooled(control: Control, kind: Address['kind'], address: string): boolean {
  if (kind === 'v4') return true
  if (kind !== 'v6') return false
  const ip = parseIp(address)!
  return poolPrefixes(control, kind).some((p) => !isRandom(p) && prefixContains(p, ip))
}

const untilOf = (key: string): number => Number(key.split('/')[2])

/** The canonical text; the message is the one that existing clients print (I10). */
export function checkAddress(text: string): string {
  const address = canonicalIp(text)
  if (address !== undefined) return address
  throw new FairwayError('invalid_address', `Invalid IP address: '${text}'`)
}
