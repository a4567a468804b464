import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { ulid } from '../../base/ids.ts'
import { keys } from '../../model/keys.ts'
import type { App, EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appFor } from '../access.ts'
import { egressPool, reapQuarantine } from '../address-pools.ts'
import type { Actor, Control } from '../context.ts'
import { claimFromPool, laneOf, poolFull } from '../pool.ts'
import { put, type Read } from '../transact.ts'
import { type Changed, changeEgress } from './change.ts'
import { checkGroup, checkRegions, seatWithin } from './checks.ts'
import { regionMissing } from './errors.ts'
import { openMeter } from './meter.ts'
import { type EgressAddress, nameOf } from './records.ts'

/** New pairs of egress addresses (E2, E9). */

export const PAIRS_PER_ALLOCATION_MAX = 8

export type PinInput = { readonly group: string } | { readonly machine: string } | null

export interface AllocateEgress {
  readonly app: string
  /** Where the addresses come from and, without `regions`, the one region that uses them. */
  readonly region?: string | null | undefined
  /** Pairs; 1 by default. */
  readonly count?: number | undefined
  /** Further regions whose machines use them. */
  readonly regions?: readonly string[] | undefined
  readonly pin?: PinInput | undefined
}

export async function allocateEgress(
  control: Control,
  actor: Actor,
  input: AllocateEgress,
): Promise<Changed<EgressPair[]>> {
  await appFor(control, actor, input.app)
  if (!input.region) throw regionMissing()
  const regions = checkRegions(control, [input.region, ...(input.regions ?? [])])
  const count = input.count ?? 1
  if (!Number.isInteger(count) || count < 1 || count > PAIRS_PER_ALLOCATION_MAX)
    throw invalid(`count: ${count} is not a number of pairs from 1 to ${PAIRS_PER_ALLOCATION_MAX}`)
  if (input.pin && 'group' in input.pin) checkGroup(input.pin.group)
  return allocatePairs(control, actor, input.app, { ...input, regions, count, machine: undefined })
}

/** E9: a pair for one machine alone, which goes when the machine goes. Deprecated: pin a pair instead. */
export async function allocateMachineEgress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly machine: string },
): Promise<Changed<EgressPair[]>> {
  return allocatePairs(control, actor, input.app, { ...input, regions: [], count: 1 })
}

interface Wanted {
  readonly regions: readonly string[]
  readonly count: number
  readonly pin?: PinInput | undefined
  readonly machine?: string | undefined
}

const allocatePairs = (
  control: Control,
  actor: Actor,
  app: string,
  wanted: Wanted,
): Promise<Changed<EgressPair[]>> =>
  withReapedPools(control, () => attempt(control, actor, app, wanted))

/** Runs what claims pairs; once more when the pools are empty but for what has rested long enough. */
export async function withReapedPools<T>(control: Control, claim: () => Promise<T>): Promise<T> {
  try {
    return await claim()
  } catch (error) {
    if (!(error instanceof PoolEmpty) || (await reapQuarantine(control)) === 0)
      throw await told(error)
  }
  return claim().catch(async (error) => {
    throw await told(error)
  })
}

const told = async (error: unknown): Promise<unknown> =>
  error instanceof PoolEmpty ? await error.explain() : error

/** No address is left; what to say about it costs look-ups. */
class PoolEmpty extends Error {
  readonly explain: () => Promise<Error>
  constructor(explain: () => Promise<Error>) {
    super('the pool is empty')
    this.explain = explain
  }
}

async function attempt(
  control: Control,
  actor: Actor,
  app: string,
  wanted: Wanted,
): Promise<Changed<EgressPair[]>> {
  const home = wanted.regions[0]
  const lane = home === undefined ? {} : laneOf(egressPool(control, home, 'v4'))
  return changeEgress(
    control,
    actor,
    [app],
    async (read, [view], seatsOf) => {
      const machine = wanted.machine ?? machineOf(wanted.pin)
      const seat = machine === undefined ? undefined : seatWithin(await seatsOf(app), app, machine)
      const regions = wanted.regions.length > 0 ? [...wanted.regions] : [seat!.region]
      if (seat && !regions.includes(seat.region))
        throw invalid(`pin: machine ${seat.id} is in ${seat.region}, not in ${regions.join(', ')}`)
      const own = view!.pairs.find(
        (pair) => pair.machine !== null && pair.machine === wanted.machine,
      )
      if (own)
        throw invalid(`machine ${wanted.machine} already has ${nameOf(own)}; release that first`)
      const claimed = await claimPairs(control, read, regions[0]!, wanted.count)
      const made = claimed.pairs.map((pair) =>
        newPair(control, view!.app, { ...pair, ...wanted, regions }),
      )
      return {
        apps: [{ view: view!, pairs: [...view!.pairs, ...made] }],
        ops: [...claimed.ops, ...made.flatMap((pair) => holdOps(control, pair))],
        result: made,
      }
    },
    { begins: app, ...lane },
  )
}

const machineOf = (pin: PinInput | undefined): string | undefined =>
  pin && 'machine' in pin ? pin.machine : undefined

/** Free addresses of a region's pools, or those of the outbound proxies (`global`). */
export async function claimPairs(
  control: Control,
  read: Read,
  region: string,
  count: number,
): Promise<{ pairs: { v4: string; v6: string }[]; ops: Op[] }> {
  const claims = []
  for (const kind of ['v4', 'v6'] as const) {
    const pool = egressPool(control, region, kind)
    const claim = await claimFromPool(control, read, pool, count)
    if (!claim) throw new PoolEmpty(() => poolFull(control, pool))
    claims.push(claim)
  }
  const [v4s, v6s] = claims
  return {
    pairs: v4s!.addresses.map((v4, i) => ({ v4, v6: v6s!.addresses[i]! })),
    ops: claims.flatMap((claim) => claim.ops),
  }
}

/** What says that a new pair's addresses are held, and since when they cost. */
export function holdOps(control: Control, pair: EgressPair): Op[] {
  const { id, app, org } = pair
  const held: EgressAddress = { state: 'held', pair: id, app, org }
  return [pair.v4, pair.v6].flatMap((address) =>
    address === null
      ? []
      : [put(keys.egressAddress(address), held), openMeter(control.clock.now(), pair, address)],
  )
}

function newPair(
  control: Control,
  app: App,
  given: Wanted & { v4: string; v6: string; regions: string[] },
): EgressPair {
  const now = isoTime(control.clock.now())
  return {
    id: `egress_${ulid(control.clock.now()).toLowerCase()}`,
    v4: given.v4,
    v6: given.v6,
    org: app.org,
    app: app.name,
    machine: given.machine ?? null,
    outbound: null,
    regions: given.regions,
    pin: given.pin ?? null,
    state: 'active',
    blocks: [],
    createdAt: now,
    updatedAt: now,
  }
}
