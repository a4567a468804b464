import { isoTime } from '../base/clock.ts'
import { FairwayError } from '../base/errors.ts'
import {
  addressAt,
  formatPrefix,
  type Prefix,
  parseIp,
  prefixContains,
  prefixSize,
} from '../base/ip.ts'
import { keys } from '../model/keys.ts'
import type { Op } from '../store/store.ts'
import type { Control } from './context.ts'
import { del, type Entry, type Page, put, type Read, readPage, transact } from './transact.ts'

/**
 * How a pool gives addresses and takes them back. In order: never used ones (a cursor per prefix),
 * then those used before, least recently used first. Nothing here depends on how many apps or
 * addresses there are. Prefixes too large to run out of are drawn from at random instead, so that
 * allocations do not race for a cursor.
 *
 * A released address is in `quarantine/` until its time is over and the hosts that sent from it have let
 * go of it, then in `free-address/`; a prefix that leaves the configuration takes its free addresses
 * along.
 */

export interface AddressPool {
  /** Part of the keys under which its addresses rest and are free. */
  readonly name: string
  /** For people: "the IPv4 pool". */
  readonly title: string
  readonly prefixes: readonly Prefix[]
  /** In its prefixes, but never given out. */
  readonly reserved: ReadonlySet<string>
  /** Where an address that is not free is recorded, with `state: 'quarantined'` while it rests. */
  readonly keyOf: (address: string) => string
  /** What to do when it is full. */
  readonly remedy: string
}

/** Prefixes with more addresses are drawn from at random. */
const CURSOR_ADDRESSES_MAX = 65_536n
const RANDOM_DRAWS_MAX = 16
const REAP_BATCH = 32
const REAP_BATCHES_MAX = 64
const FREE_PAGE = 16

export interface Claim {
  readonly addresses: readonly string[]
  readonly ops: readonly Op[]
}

/** The lane for allocations of this pool; none where they do not race for one key. */
export const laneOf = (pool: AddressPool): { lane?: string } =>
  pool.prefixes.every(isRandom) ? {} : { lane: `pool/${pool.name}` }

/** So many free addresses, and what to write to have taken them; undefined when there are not. */
export async function claimFromPool(
  { random }: Pick<Control, 'random'>,
  read: Read,
  pool: AddressPool,
  count = 1,
): Promise<Claim | undefined> {
  const taking: Taking = { addresses: [], ops: [], count }
  await drawAtRandom(random, read, pool, taking)
  await takeNeverUsed(read, pool, taking)
  await takeUsedBefore(read, pool, taking)
  return taking.addresses.length < count ? undefined : taking
}

/**
 * What to write beside the address's record so that it waits, and then becomes free. `hosts` may still
 * send from it: it waits until each has acknowledged the revision of this transaction as well.
 */
export const quarantineOps = (
  pool: string,
  address: string,
  untilMs: number,
  hosts?: readonly string[],
): Op[] => [put(keys.quarantine(pool, untilMs, address), { address, hosts } satisfies Resting)]

/**
 * Ends quarantines that are over: the record goes, the address becomes free. Returns how many. Bounded
 * per call; what is left is for the next one.
 */
export async function reapPool(control: Control, pool: AddressPool): Promise<number> {
  let reaped = 0
  let after: string | undefined = ''
  for (let batch = 0; batch < REAP_BATCHES_MAX && after !== undefined; batch++) {
    const from: string = after
    const { result } = await transact(control, (read) => planReap(control, read, pool, from))
    reaped += result.reaped
    after = result.next
  }
  return reaped
}

/** Names the pool, how it stands and what to do. */
export async function poolFull(control: Control, pool: AddressPool): Promise<FairwayError> {
  const waiting = await readPage<Resting>(control.store, `quarantine/${pool.name}/`)
  const total = pool.prefixes.reduce((sum, p) => sum + prefixSize(p), 0n)
  const quarantined = describeQuarantine(control, waiting)
  const prefixes = pool.prefixes.map(formatPrefix).join(', ') || 'no prefixes'
  return new FairwayError(
    'pool_full',
    `${pool.title} (${prefixes}) is full: ${total} addresses, ${quarantined}; ${pool.remedy}`,
  )
}

function describeQuarantine(control: Control, { entries, more }: Page<Resting>): string {
  if (entries.length === 0) return 'none in quarantine'
  const next = entries.find((entry) => lateHosts(control, entry).length === 0)
  const late = [...new Set(entries.flatMap((entry) => lateHosts(control, entry)))].sort()
  return [
    `${entries.length}${more ? '+' : ''} in quarantine`,
    ...(next ? [`the next free at ${isoTime(untilOf(next.key))}`] : []),
    ...(late.length > 0
      ? [
          `some not before their hosts have let go of them: ${late.join(', ')} ` +
            '(start their agents, or take hosts that are switched off out of the configuration)',
        ]
      : []),
  ].join(', ')
}

/**
 * Hosts that may still send from a resting address: those of the configuration that have not
 * acknowledged its release since the control plane started, whether they are live or not. One that
 * is cut off from the control plane goes on with what its kernel has.
 */
const lateHosts = (
  { config, egressAcks }: Pick<Control, 'config' | 'egressAcks'>,
  { value: { hosts = [] }, modRevision }: Entry<Resting>,
): string[] =>
  hosts.filter(
    (host) =>
      config.hosts.some(({ id }) => id === host) && (egressAcks.applied(host) ?? -1) < modRevision,
  )

const isRandom = (prefix: Prefix): boolean => prefixSize(prefix) > CURSOR_ADDRESSES_MAX

/** A claim while it grows. */
interface Taking {
  readonly addresses: string[]
  readonly ops: Op[]
  readonly count: number
}
const isDone = (taking: Taking): boolean => taking.addresses.length >= taking.count

async function drawAtRandom(
  random: () => number,
  read: Read,
  pool: AddressPool,
  taking: Taking,
): Promise<void> {
  const prefixes = pool.prefixes.filter(isRandom)
  if (prefixes.length === 0) return
  for (let draw = 0; draw < RANDOM_DRAWS_MAX * taking.count && !isDone(taking); draw++) {
    const prefix = prefixes[Math.floor(random() * prefixes.length)]!
    const address = addressAt(prefix, randomIndex(random, prefixSize(prefix)))
    if (taking.addresses.includes(address)) continue
    if ((await read.get(pool.keyOf(address))) === undefined) taking.addresses.push(address)
  }
}

/** 64 random bits, cut to the prefix; never 0, the routers' anycast. */
function randomIndex(random: () => number, size: bigint): bigint {
  const word = () => BigInt(Math.floor(random() * 2 ** 32))
  const index = ((word() << 32n) | word()) % size
  return index === 0n ? 1n : index
}

async function takeNeverUsed(read: Read, pool: AddressPool, taking: Taking): Promise<void> {
  for (const prefix of pool.prefixes) {
    if (isRandom(prefix) || isDone(taking)) continue
    const cursor = keys.poolCursor(formatPrefix(prefix))
    const first = BigInt((await read.get<number>(cursor)) ?? 0)
    let index = first
    for (; index < prefixSize(prefix) && !isDone(taking); index++) {
      const address = addressAt(prefix, index)
      if (pool.reserved.has(address) || isUnwise(prefix, index, address)) continue
      // Taken already when the pool's prefixes were changed to overlap older ones.
      if ((await read.peek(pool.keyOf(address))) !== undefined) continue
      if ((await read.get(pool.keyOf(address))) !== undefined) continue
      taking.addresses.push(address)
    }
    if (index > first) taking.ops.push(put(cursor, Number(index)))
  }
}

/**
 * Old clients and filters take .0 and .255 for a network's own, and an IPv6 prefix's first address is
 * its routers' anycast (RFC 4291 section 2.6.1).
 */
const isUnwise = (prefix: Prefix, index: bigint, address: string): boolean =>
  prefix.family === 4 ? /\.(0|255)$/.test(address) : index === 0n && prefix.length < 127

async function takeUsedBefore(read: Read, pool: AddressPool, taking: Taking): Promise<void> {
  // One that left the configuration stays in the list: its prefix may come back.
  const isOurs = (address: string) =>
    !pool.reserved.has(address) &&
    pool.prefixes.some((prefix) => prefixContains(prefix, parseIp(address)!))
  let after = ''
  while (!isDone(taking)) {
    const page: Page<FreeAddress> = await read.range(`free-address/${pool.name}/`, {
      limit: FREE_PAGE,
      after,
    })
    for (const { key, value } of page.entries) {
      after = key
      if (isDone(taking) || !isOurs(value.address)) continue
      if (await isFree(read, pool, key, value.address)) {
        taking.addresses.push(value.address)
        taking.ops.push(del(key))
      }
    }
    if (!page.more) return
  }
}

async function isFree(
  read: Read,
  pool: AddressPool,
  key: string,
  address: string,
): Promise<boolean> {
  // Taken although listed: when a cursor came by after the pool's prefixes were changed.
  if ((await read.peek(pool.keyOf(address))) !== undefined) return false
  if ((await read.get(key)) === undefined) return false
  return (await read.get(pool.keyOf(address))) === undefined
}

interface FreeAddress {
  readonly address: string
}

/** Value of `quarantine` keys. */
interface Resting {
  readonly address: string
  readonly hosts?: readonly string[] | undefined
}

/** `next`: where to go on; undefined when no later one is due. */
async function planReap(control: Control, read: Read, pool: AddressPool, after: string) {
  const options = { limit: REAP_BATCH, after }
  const page = await read.range<Resting>(`quarantine/${pool.name}/`, options)
  const nowMs = control.clock.now()
  const due = page.entries.filter(({ key }) => untilOf(key) <= nowMs)
  const ops: Op[] = []
  let reaped = 0
  for (const entry of due) {
    const { key, value } = entry
    const untilMs = untilOf(key)
    if (lateHosts(control, entry).length > 0) continue
    const { address } = value
    const record = await read.get<{ state: string }>(pool.keyOf(address))
    if ((await read.get(key)) === undefined) continue
    ops.push(del(key))
    if (record?.state === 'quarantined') ops.push(del(pool.keyOf(address)))
    if (isListed(pool, address)) {
      ops.push(put(keys.freeAddress(pool.name, untilMs, address), { address }))
    }
    reaped += 1
  }
  const mayBeMore = page.more && due.length === page.entries.length
  return { ops, result: { reaped, next: mayBeMore ? due.at(-1)?.key : undefined } }
}

/**
 * Random addresses need no list of free ones. Of IPv4, one whose prefix has left the configuration
 * is listed too: the prefix may come back.
 */
function isListed(pool: AddressPool, address: string): boolean {
  const ip = parseIp(address)!
  const prefix = pool.prefixes.find((p) => prefixContains(p, ip))
  return prefix ? !isRandom(prefix) : ip.family === 4
}

const untilOf = (key: string): number => Number(key.split('/')[2])
