import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { EGRESS_SLOTS, type EgressPair } from '../../model/resources.ts'
import type { Actor, Control } from '../context.ts'
import type { PinInput } from './allocate.ts'
import { findRun, resizeInPlace } from './blocks.ts'
import { type AppEdit, type Changed, changeEgress } from './change.ts'
import { checkGroup, checkRegions, pairWithin, refuseMachineScoped, seatWithin } from './checks.ts'
import { lastOfMachines, noAdjacentRoom } from './errors.ts'
import { holdingsOf, type Plan, type Target } from './law.ts'
import type { AppView } from './records.ts'

/** How pairs are chosen, drained and spread, and machines' blocks grow (docs/egress.md). */

export interface AdjustEgress {
  readonly app: string
  readonly address: string
  /** Null: for all machines of the app that have no pinned pair. */
  readonly pin?: PinInput | undefined
  /** All regions whose machines use it, its home among them. */
  readonly regions?: readonly string[] | undefined
  /** True: no machine uses it for new connections; those in progress go on. */
  readonly draining?: boolean | undefined
}

/** Changes of one pair, all at once. Machines that it concerns send from elsewhere afterwards. */
export async function adjustEgress(
  control: Control,
  actor: Actor,
  input: AdjustEgress,
): Promise<Changed<EgressPair>> {
  if (input.pin && 'group' in input.pin) checkGroup(input.pin.group)
  return changeEgress(control, actor, [input.app], async (_read, [view], seatsOf) => {
    const { pair } = pairWithin(view!, input.address)
    const next: EgressPair = {
      ...pair,
      pin: input.pin === undefined ? pair.pin : input.pin,
      regions: input.regions === undefined ? pair.regions : regionsOf(control, pair, input.regions),
      state: input.draining === undefined ? pair.state : input.draining ? 'draining' : 'active',
      updatedAt: isoTime(control.clock.now()),
    }
    if (next.pin !== null) refuseMachineScoped(pair, 'pin')
    const pinned = next.pin && 'machine' in next.pin ? next.pin.machine : pair.machine
    if (pinned !== null && pinned !== undefined && (input.pin || input.regions)) {
      const seat = seatWithin(await seatsOf(input.app), input.app, pinned)
      if (!next.regions.includes(seat.region))
        throw invalid(`machine ${pinned} is in ${seat.region}, not in ${next.regions.join(', ')}`)
    }
    const refuseLast = (plan: Plan) => {
      const stranded = [...plan.moves.values()].filter((target) => target === null).length
      if (input.draining && stranded > 0) throw lastOfMachines(pair, stranded)
    }
    return { apps: [replacing(view!, pair, next)], ops: [], result: next, accept: refuseLast }
  })
}

function regionsOf(control: Control, pair: EgressPair, regions: readonly string[]): string[] {
  const home = pair.regions[0]!
  const wanted = checkRegions(control, regions)
  if (!wanted.includes(home))
    throw invalid(`regions: ${home} is missing; the address comes from its pool and stays there`)
  return [home, ...wanted.filter((region) => region !== home)]
}

/**
 * E10: makes a machine-scoped pair its app's. The machine keeps its block, so nothing of it is
 * interrupted. A pair that is the app's already stays as it is.
 */
export async function promoteEgress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly address: string },
): Promise<Changed<EgressPair>> {
  return changeEgress(control, actor, [input.app], async (_read, [view]) => {
    const { pair } = pairWithin(view!, input.address)
    if (pair.machine === null) return { apps: [], ops: [], result: pair }
    const next = { ...pair, machine: null, updatedAt: isoTime(control.clock.now()) }
    return { apps: [replacing(view!, pair, next)], ops: [], result: next }
  })
}

/** Gives a machine so many adjacent blocks: where its own is when there is room, else elsewhere on the pair. */
export async function resizeMachineEgress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly machine: string; readonly count: number },
): Promise<Changed<Target>> {
  const { count } = input
  if (!Number.isInteger(count) || count < 1 || count > EGRESS_SLOTS)
    throw invalid(`count: ${count} is not a number of blocks from 1 to ${EGRESS_SLOTS}`)
  return changeEgress(control, actor, [input.app], async (_read, [view], seatsOf) => {
    const seat = seatWithin(await seatsOf(input.app), input.app, input.machine)
    const held = holdingsOf(view!.pairs).get(seat.id)
    if (!held)
      throw invalid(
        `machine ${seat.id} has no static egress address; allocate one: fairway ips allocate-egress -a ${input.app} -r ${seat.region}`,
      )
    if (held.count === count) return { apps: [], ops: [], result: held }
    const pair = view!.pairs.find((one) => one.id === held.pair)!
    const run =
      resizeInPlace(pair.blocks, held, count) ??
      findRun(pair.blocks, count, seat.listening, control.random)
    if (!run) throw noAdjacentRoom(pair, seat.id, count)
    const target: Target = { pair: pair.id, ...run }
    const apps = [{ view: view!, pairs: view!.pairs, wishes: [{ seat, target }] }]
    return { apps, ops: [], result: target }
  })
}

const replacing = (view: AppView, pair: EgressPair, next: EgressPair): AppEdit => ({
  view,
  pairs: view.pairs.map((one) => (one === pair ? next : one)),
})
