import { randomBytes } from 'node:crypto'
import { isoTime } from '../../base/clock.ts'
import { conflict, FairwayError, invalid } from '../../base/errors.ts'
import { parseAllow } from '../../model/destination.ts'
import { keys } from '../../model/keys.ts'
import { type EgressPair, OUTBOUND_INDEX_MAX, OutboundProxy } from '../../model/resources.ts'
import { orgFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { claimPairs, holdOps, withReapedPools } from '../egress/allocate.ts'
import { releasePairOps } from '../egress/release-ops.ts'
import { del, put, type Read, readAll, transact } from '../transact.ts'
import { type Issued, newCredential } from './credentials.ts'
import {
  OUTBOUND_PER_ORG_MAX,
  outboundFor,
  outboundWithin,
  pairsOf,
  proxiesOf,
  shareSlots,
} from './records.ts'

/** Outbound proxies of orgs (E12 to E16; docs/outbound.md). */

const NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const GLOBAL = 'global'
const NO_LIMITS: OutboundProxy['limits'] = {
  connections: null,
  newPerSecond: null,
  bytesPerSecond: null,
}

export interface OutboundView {
  readonly proxy: OutboundProxy
  readonly pairs: readonly EgressPair[]
}

/** A view and, once, the secret of a credential that was just made. */
export interface OutboundIssued extends OutboundView {
  readonly issued: Issued
  /** Live hosts that had not put it in force when the wait was over. */
  readonly waiting: readonly string[]
}

export interface CreateOutbound {
  readonly org: string
  readonly name: string
  readonly allow?: readonly string[] | undefined
  readonly limits?: Partial<OutboundProxy['limits']> | undefined
}

/** Two pairs of addresses that every host sends from, and a first credential. */
export async function createOutbound(
  control: Control,
  actor: Actor,
  input: CreateOutbound,
): Promise<OutboundIssued> {
  const { slug } = await orgFor(control, actor, input.org)
  if (!NAME.test(input.name))
    throw invalid(
      `name: "${input.name}" is no name; use lower-case letters, digits and hyphens, at most 63`,
    )
  parseAllow(input.allow ?? [])
  const done = await withReapedPools(control, () =>
    transact(control, (read) => planCreate(control, read, slug, input)),
  )
  const { waiting } = await control.egressAcks.waitFor(done.revision, control.config.attachWaitMs)
  return { ...done.result, waiting }
}

async function planCreate(control: Control, read: Read, org: string, input: CreateOutbound) {
  const others = await proxiesOf(control, org)
  if (others.some(({ name }) => name === input.name))
    throw conflict(`name: org "${org}" has an outbound proxy "${input.name}"; choose another name`)
  if (others.length >= OUTBOUND_PER_ORG_MAX)
    throw new FairwayError(
      'too_many',
      `org "${org}" has ${others.length} outbound proxies, the most that it may have; destroy one first`,
    )
  const now = isoTime(control.clock.now())
  const id = randomBytes(5).toString('hex')
  const index = await freeIndex(control, read)
  const issued = newCredential(id, now)
  const claimed = await claimPairs(control, read, GLOBAL, 2)
  const hosts = control.config.hosts.map((host) => host.id)
  const pairs = claimed.pairs.map(
    (addresses, i): EgressPair => ({
      id: `egress_out_${id}${'ab'[i]}`,
      ...addresses,
      ...{ org, app: null, machine: null, outbound: id, regions: [GLOBAL], pin: null },
      state: 'active',
      blocks: shareSlots([], hosts, control.random).blocks,
      ...{ createdAt: now, updatedAt: now },
    }),
  )
  const proxy: OutboundProxy = OutboundProxy.parse({
    ...{ id, index, org, name: input.name, pairs: pairs.map((pair) => pair.id) },
    credentials: [issued.credential],
    limits: { ...NO_LIMITS, ...input.limits },
    ...{ allow: input.allow ?? [], secret: null, createdAt: now, updatedAt: now },
  })
  const ops = [
    ...claimed.ops,
    ...pairs.flatMap((pair) => [put(keys.egress(pair.id), pair), ...holdOps(control, pair)]),
    put(keys.outbound(id), proxy),
    put(keys.orgOutbound(org, id), { id }),
    put(keys.outboundIndex(index), { id } satisfies NumberRecord),
  ]
  return { ops, result: { proxy, pairs, issued } }
}

/** A proxy's number: claimed, or resting after its proxy was destroyed. */
interface NumberRecord {
  readonly id: string
  /** Milliseconds since the epoch; a host may have connections from its private addresses until then. */
  readonly restsUntilMs?: number
}

async function freeIndex(control: Control, read: Read): Promise<number> {
  const records = await readAll<NumberRecord>(
    control.store,
    'outbound-index/',
    OUTBOUND_INDEX_MAX + 1,
  )
  const seen = new Map(records.map(({ key, value }) => [key, value]))
  for (let index = 0; index <= OUTBOUND_INDEX_MAX; index++) {
    const key = keys.outboundIndex(index)
    if (isFree(control, seen.get(key)) && isFree(control, await read.get<NumberRecord>(key)))
      return index
  }
  throw new FairwayError(
    'too_many',
    `the fleet's ${seen.size} numbers for outbound proxies, the most that it can have, are in use or rest after one; destroy one, and try again in ${control.config.quarantineMs / 1_000} s`,
  )
}

const isFree = ({ clock }: Control, record: NumberRecord | undefined): boolean =>
  record === undefined || (record.restsUntilMs ?? Infinity) <= clock.now()

export async function listOutbound(
  control: Control,
  actor: Actor,
  org: string,
): Promise<OutboundView[]> {
  const { slug } = await orgFor(control, actor, org)
  const proxies = await proxiesOf(control, slug)
  return Promise.all(
    proxies.map(async (proxy) => ({ proxy, pairs: await pairsOf(control, proxy) })),
  )
}

export async function showOutbound(
  control: Control,
  actor: Actor,
  input: { readonly org: string; readonly id: string },
): Promise<OutboundView> {
  const proxy = await outboundFor(control, actor, input.org, input.id)
  return { proxy, pairs: await pairsOf(control, proxy) }
}

/** Changes destinations and limits; what is absent stays. Open connections go on. */
export async function adjustOutbound(
  control: Control,
  actor: Actor,
  input: {
    readonly org: string
    readonly id: string
    readonly allow?: readonly string[] | undefined
    readonly limits?: Partial<OutboundProxy['limits']> | undefined
  },
): Promise<OutboundView> {
  if (input.allow) parseAllow(input.allow)
  const found = await outboundFor(control, actor, input.org, input.id)
  const { result } = await transact(control, async (read) => {
    const before = await outboundWithin(read, found)
    const proxy = OutboundProxy.parse({
      ...before,
      allow: input.allow ?? before.allow,
      limits: { ...before.limits, ...input.limits },
      updatedAt: isoTime(control.clock.now()),
    })
    return { ops: [put(keys.outbound(proxy.id), proxy)], result: proxy }
  })
  return { proxy: result, pairs: await pairsOf(control, result) }
}

/** Ends it for everybody who uses it; its addresses and its number rest before others get them (I13). */
export async function destroyOutbound(
  control: Control,
  actor: Actor,
  input: { readonly org: string; readonly id: string },
): Promise<OutboundView> {
  const found = await outboundFor(control, actor, input.org, input.id)
  const { result } = await transact(control, async (read) => {
    const proxy = await outboundWithin(read, found)
    const pairs = await Promise.all(proxy.pairs.map((id) => read.get<EgressPair>(keys.egress(id))))
    const held = pairs.filter((pair) => pair !== undefined)
    const restsUntilMs = control.clock.now() + control.config.quarantineMs
    const ops = [
      ...(await releasePairOps(control, read, held)),
      del(keys.outbound(proxy.id)),
      del(keys.orgOutbound(proxy.org, proxy.id)),
      put(keys.outboundIndex(proxy.index), { id: proxy.id, restsUntilMs } satisfies NumberRecord),
    ]
    return { ops, result: { proxy, pairs: held } }
  })
  return result
}
