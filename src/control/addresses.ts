import { isoTime } from '../base/clock.ts'
import { invalid } from '../base/errors.ts'
import { ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import type { Address, App, Network, Org } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { appFor, appWithin, mayAct, orgFor, orgNotFound } from './access.ts'
import {
  hasDedicated,
  noSharedAddress,
  notDedicated,
  notInOrg,
  notOfApp,
  onlyDedicated,
} from './address-errors.ts'
import {
  checkAddress,
  claimPrivate,
  type PooledKind,
  publicPool,
  reapQuarantine,
} from './address-pools.ts'
import { type Departure, departureOps, detachOps, releaseOps } from './address-release.ts'
import { ensureSharedRecord, pickShared } from './address-shared.ts'
import type { Actor, Control } from './context.ts'
import { DEFAULT_NETWORK, ensureNetwork, networkWithin } from './networks.ts'
import { claimFromPool, laneOf, poolFull } from './pool.ts'
import { type Price, priceOf } from './prices.ts'
import { put, type Read, readAll, readOne, transact } from './transact.ts'

/** Public and private addresses of apps (docs/addresses.md; rules I1-I14, X13, X14). */

export const GLOBAL = 'global'
const ADDRESSES_LISTED_MAX = 100_000
const SERVICE_NAME_LENGTH_MAX = 63

export interface AllocateInput {
  readonly app: string
  readonly kind: Address['kind']
  /** A region's code; empty or absent: `global`. */
  readonly region?: string | null
  /** private_v6 only: where the address can be reached from; the org's default network when absent. */
  readonly network?: string | null
  readonly org?: string | null
  readonly serviceName?: string | null
}

export interface Allocation {
  readonly address: Address
  readonly app: App
  /** False: the app had the shared address already. */
  readonly created: boolean
  readonly price: Price
  /** The store's revision with it; 0 when nothing was written. */
  readonly revision: number
}

export async function allocateAddress(
  control: Control,
  actor: Actor,
  input: AllocateInput,
): Promise<Allocation> {
  const { kind } = input
  const region = checkRegion(control, input)
  const price = priceOf(control, kind)
  if (kind === 'shared_v4') return { ...(await allocateShared(control, actor, input.app)), price }
  if (kind === 'private_v6') return { ...(await allocatePrivate(control, actor, input)), price }
  const attempt = () => allocatePooled(control, actor, { ...input, kind, region })
  const first = await attempt()
  if (first) return { ...first, price }
  await reapQuarantine(control)
  const second = await attempt()
  if (second) return { ...second, price }
  throw await poolFull(control, publicPool(control, kind))
}

/** An app's addresses, its shared IPv4 (whose record names no app) last. */
export async function listAddresses(
  control: Control,
  actor: Actor,
  name: string,
): Promise<Address[]> {
  const app = await appFor(control, actor, name)
  const owned = await readAll<unknown>(control.store, `app-address/${name}/`, ADDRESSES_LISTED_MAX)
  const addresses = owned.map((entry) => entry.key.slice(entry.key.lastIndexOf('/') + 1))
  if (app.sharedV4 !== null) addresses.push(app.sharedV4)
  const records = await Promise.all(
    addresses.map((address) => readOne<Address>(control.store, keys.address(address))),
  )
  // One that left the app between the two reads is not the app's any more.
  return records.filter(
    (r) => r !== undefined && (r.app === name || r.state === 'shared'),
  ) as Address[]
}

/** Dedicated IPv4 addresses that an org holds without an app. */
export async function listParked(control: Control, actor: Actor, org: string): Promise<Address[]> {
  const { slug } = await orgFor(control, actor, org)
  const entries = await readAll(control.store, `parked-address/${slug}/`, ADDRESSES_LISTED_MAX)
  const records = await Promise.all(
    entries.map(({ key }) =>
      readOne<Address>(control.store, keys.address(key.slice(key.lastIndexOf('/') + 1))),
    ),
  )
  return records.filter((r) => r?.state === 'parked') as Address[]
}

export interface Released extends Departure {
  readonly address: string
  readonly revision: number
}

/**
 * Gives an address of the app (or one that its org has parked) back. A dedicated or v6 address is
 * quarantined; the app's shared one simply no longer routes to it.
 */
export async function releaseAddress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly address: string },
): Promise<Released> {
  const address = checkAddress(input.address)
  const { result, revision } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, input.app)
    if (app.sharedV4 === address) {
      const without: App = { ...app, sharedV4: null }
      return {
        ops: [put(keys.app(app.name), without)],
        result: { app: without, reverted: null, notReverted: null },
      }
    }
    const record = await read.get<Address>(keys.address(address))
    if (record?.state === 'parked' && record.org === app.org) {
      return {
        ops: releaseOps(control, record),
        result: { app, reverted: null, notReverted: null },
      }
    }
    if (record?.app !== app.name) throw await notOfApp(read, actor, app, address, record)
    const departure = await departureOps(control, read, app, record)
    return { ops: [...releaseOps(control, record), ...departure.ops], result: departure.departure }
  })
  return { address, revision, ...result }
}

export interface Moved extends Departure {
  readonly address: Address
  /** The app that had the address, or null. */
  readonly from: string | null
  readonly revision: number
  /** Live hosts whose edges had not switched when the wait was over. */
  readonly waiting: string[]
}

/** Parks a dedicated IPv4 of the app in its org: kept and paid for, answering nothing. */
export async function detachV4(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly address?: string | null },
): Promise<Moved> {
  const asked = input.address ? checkAddress(input.address) : undefined
  const { result, revision } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, input.app)
    const address = asked ?? (await onlyDedicated(read, app))
    const record = await read.get<Address>(keys.address(address))
    if (record?.app !== app.name) throw await notOfApp(read, actor, app, address, record)
    if (record.kind !== 'v4') throw notDedicated(address, record.kind, 'detached')
    const parked: Address = { ...record, app: null, state: 'parked', serviceName: null }
    const { ops, departure } = await departureOps(control, read, app, record)
    return {
      ops: [
        put(keys.address(address), parked),
        put(keys.parkedAddress(app.org, address), { address }),
        ...detachOps(record),
        ...ops,
      ],
      result: { ...departure, address: parked, from: app.name },
    }
  })
  return { ...result, revision, ...(await switched(control, revision)) }
}

/**
 * Gives a dedicated IPv4 that the org has parked, or that another of its apps has, to the app: one
 * transaction, so that every edge switches from one to the other without a moment in between.
 */
export async function attachV4(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly address: string },
): Promise<Moved> {
  const address = checkAddress(input.address)
  const { result, revision } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, input.app)
    const record = await read.get<Address>(keys.address(address))
    if (!record || record.org !== app.org) throw notInOrg(app, address)
    if (record.kind !== 'v4') throw notDedicated(address, record.kind, 'attached')
    const nothing = { app, reverted: null, notReverted: null }
    const from = record.app
    if (from === app.name) {
      const since = read.revisionOf(keys.address(address))
      return { ops: [], result: { ...nothing, address: record, from, since } }
    }
    const attached: Address = { ...record, app: app.name, state: 'attached' }
    const ops = [...detachOps(record), ...(await attachOps(read, attached))]
    const left = from === null ? undefined : await read.get<App>(keys.app(from))
    const leaving = left && (await departureOps(control, read, left, record))
    return {
      ops: [...ops, ...(leaving?.ops ?? [])],
      result: {
        ...nothing,
        reverted: leaving?.departure.reverted ?? null,
        notReverted: leaving?.departure.notReverted ?? null,
        address: attached,
        from,
        since: 0,
      },
    }
  })
  // Asked again after a time-out: nothing to write, but still something to wait for.
  const { since, ...moved } = result
  const at = revision || since
  return { ...moved, revision: at, ...(await switched(control, at)) }
}

async function allocatePooled(
  control: Control,
  actor: Actor,
  input: AllocateInput & { kind: PooledKind; region: string },
): Promise<Omit<Allocation, 'price'> | undefined> {
  const pool = publicPool(control, input.kind)
  const plan = async (read: Read) => {
    const app = await appWithin(read, actor, input.app)
    const claim = await claimFromPool(control, read, pool)
    if (!claim) return { ops: [], result: undefined }
    const record = newRecord(control, app, input, claim.addresses[0]!)
    return {
      ops: [...claim.ops, ...(await attachOps(read, record))],
      result: { address: record, app, created: true },
    }
  }
  const { result, revision } = await transact(control, plan, laneOf(pool))
  return result && { ...result, revision }
}

async function allocatePrivate(control: Control, actor: Actor, input: AllocateInput) {
  const org = input.org ? (await orgFor(control, actor, input.org)).slug : undefined
  const { result, revision } = await transact(
    control,
    async (read) => {
      const app = await appWithin(read, actor, input.app)
      const inOrg = org ?? app.org
      if (!mayAct(actor, inOrg)) throw orgNotFound(inOrg)
      const { network, ops } = await targetNetwork(read, inOrg, input.network)
      const claim = await claimPrivate(read, network.id)
      const record: Address = {
        ...newRecord(control, app, { ...input, region: GLOBAL }, claim.address),
        // For a private address these two say from where it can be reached (N23).
        org: network.org,
        network: network.name,
      }
      return {
        ops: [...ops, ...claim.ops, ...(await attachOps(read, record))],
        result: { address: record, app, created: true },
      }
    },
    { lane: 'private-v6' },
  )
  return { ...result, revision }
}

/** I12: no network named means the org's default one, not the app's. */
async function targetNetwork(
  read: Read,
  org: string,
  name: string | null | undefined,
): Promise<{ network: Network; ops: Op[] }> {
  if (!name || name === DEFAULT_NETWORK) return ensureNetwork(read, org, DEFAULT_NETWORK)
  return { network: await networkWithin(read, org, name), ops: [] }
}

async function allocateShared(control: Control, actor: Actor, name: string) {
  const { result, revision } = await transact(control, async (read) => {
    const app = await appWithin(read, actor, name)
    if (app.sharedV4 !== null) {
      const address = (await read.peek<Address>(keys.address(app.sharedV4)))!
      return { ops: [], result: { address, app, created: false } }
    }
    const org = await read.get<Org>(keys.org(app.org))
    const dedicated = (await read.get<number>(keys.dedicatedCount(name))) ?? 0
    if (dedicated > 0 && !org?.allowSharedBesideDedicated) throw await hasDedicated(read, app)
    const shared = await pickShared(control, read, app)
    if (!shared) throw noSharedAddress()
    const changed: App = { ...app, sharedV4: shared.address }
    return {
      ops: [put(keys.app(name), changed), ...(await ensureSharedRecord(read, shared))],
      result: { address: shared, app: changed, created: true },
    }
  })
  return { ...result, revision }
}

/** What makes `record` the app's, in the store's indexes as well. */
async function attachOps(read: Read, record: Address): Promise<Op[]> {
  const app = record.app!
  const ops = [
    put(keys.address(record.address), record),
    put(keys.appAddress(app, record.kind, record.address), { kind: record.kind }),
  ]
  if (record.kind !== 'v4') return ops
  const count = (await read.get<number>(keys.dedicatedCount(app))) ?? 0
  return [...ops, put(keys.dedicatedCount(app), count + 1)]
}

function newRecord(
  control: Control,
  app: App,
  input: AllocateInput & { region: string },
  address: string,
): Address {
  const nowMs = control.clock.now()
  return {
    id: `ip_${ulid(nowMs).toLowerCase()}`,
    address,
    kind: input.kind,
    state: 'attached',
    org: app.org,
    app: app.name,
    network: null,
    region: input.region,
    serviceName: input.serviceName || null,
    createdAt: isoTime(nowMs),
    quarantinedUntilMs: null,
  }
}

function checkRegion(control: Control, { kind, region, serviceName }: AllocateInput): string {
  if (serviceName && serviceName.length > SERVICE_NAME_LENGTH_MAX) {
    throw invalid(`serviceName is longer than ${SERVICE_NAME_LENGTH_MAX} characters`)
  }
  if (!region || region === GLOBAL) return GLOBAL
  if (kind === 'shared_v4' || kind === 'private_v6') {
    throw invalid(`region "${region}" cannot be chosen for a ${kind} address; leave it out`)
  }
  const codes = control.config.regions.map(({ code }) => code)
  if (codes.includes(region)) return region
  throw invalid(`region "${region}" is not known; choose one of ${codes.join(', ')}`)
}

async function switched(control: Control, revision: number): Promise<{ waiting: string[] }> {
  return control.edges.waitFor(revision, control.config.attachWaitMs)
}
