import { isoTime } from '../../base/clock.ts'
import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Actor, Control } from '../context.ts'
import { transact } from '../transact.ts'
import { type AppEdit, type Changed, changeEgress } from './change.ts'
import { pairWithin } from './checks.ts'
import { noneOfMachine } from './errors.ts'
import { holdingsOf } from './law.ts'
import { type AppEgress, type AppView, egressLane, readPairs, setOps } from './records.ts'
import { releaseAddressOps, releasePairOps } from './release-ops.ts'

/** Egress addresses that are given back. */

export interface ReleasedEgress {
  readonly v4: string | null
  readonly v6: string | null
}

/**
 * Releases one address (E5). Machines that sent from it are closed in that family; when it was the
 * last of its pair, they go to the app's other pairs, or back to the default egress when there are
 * none. Refused when the other pairs have no room for them. Connections in progress end: drain first
 * to let them finish.
 */
export async function releaseEgress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly address: string },
): Promise<Changed<ReleasedEgress>> {
  return changeEgress(control, actor, [input.app], async (read, [view], seatsOf) => {
    const { pair, address } = pairWithin(view!, input.address)
    const isV4 = pair.v4 === address
    const result = { v4: isV4 ? address : null, v6: isV4 ? null : address }
    const half: EgressPair = {
      ...pair,
      ...(isV4 ? { v4: null } : { v6: null }),
      updatedAt: isoTime(control.clock.now()),
    }
    if (half.v4 === null && half.v6 === null)
      return { apps: [withoutPair(control, view!, pair)], ops: [], result }
    const seats = new Map((await seatsOf(input.app)).map((seat) => [seat.id, seat]))
    const wishes = [...holdingsOf([half])].flatMap(([id, target]) => {
      const seat = seats.get(id)
      return seat ? [{ seat, target }] : []
    })
    const pairs = view!.pairs.map((one) => (one === pair ? half : one))
    const ops = await releaseAddressOps(control, read, pair, address)
    return { apps: [{ view: view!, pairs, wishes }], ops, result }
  })
}

/** Releases a machine-scoped pair by its machine (E9). */
export async function releaseMachineEgress(
  control: Control,
  actor: Actor,
  input: { readonly app: string; readonly machine: string },
): Promise<Changed<ReleasedEgress>> {
  return changeEgress(control, actor, [input.app], async (_read, [view]) => {
    const pair = view!.pairs.find((one) => one.machine === input.machine)
    if (!pair) throw noneOfMachine(input.machine)
    const result = { v4: pair.v4, v6: pair.v6 }
    return { apps: [withoutPair(control, view!, pair)], ops: [], result }
  })
}

/** Nothing new goes to it; it ends when its machines send from elsewhere. */
const withoutPair = (control: Control, view: AppView, pair: EgressPair): AppEdit => ({
  view,
  pairs: view.pairs.filter((one) => one !== pair),
  releasing: [{ ...pair, state: 'draining', updatedAt: isoTime(control.clock.now()) }],
})

const PAIRS_PER_STEP = 8

/** One step of giving back what a deleted app had. True while there is more. */
export async function releaseSomeOfDeleted(control: Control, app: string): Promise<boolean> {
  const { result } = await transact(
    control,
    async (read) => {
      // While this key is there, nobody can make an app of the same name and be robbed by this step.
      if ((await read.get(keys.appDeleting(app))) === undefined) return { ops: [], result: false }
      const set = await read.get<AppEgress>(keys.appEgress(app))
      if (!set) return { ops: [], result: false }
      const ids = set.pairs.slice(0, PAIRS_PER_STEP)
      const after: AppEgress = {
        pairs: set.pairs.slice(PAIRS_PER_STEP),
        moves: {},
        releasing: [],
      }
      const ops = [
        ...(await releasePairOps(control, read, await readPairs(read, ids))),
        ...setOps(app, set, after),
      ]
      return { ops, result: true }
    },
    { lane: egressLane(app) },
  )
  return result
}
