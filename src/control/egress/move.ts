import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appFor, appNamedBy } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { findMachineApp } from '../machines/query.ts'
import { machineNotFound } from '../machines/records.ts'
import { put, type Read } from '../transact.ts'
import { type AppEdit, type Changed, changeEgress } from './change.ts'
import { pairWithin, seatWithin } from './checks.ts'
import { closeMeter, openMeter } from './meter.ts'
import { type AppView, type EgressAddress, nameOf } from './records.ts'

/** A pair that goes to another app, or to a machine, of its org. */

export interface MoveEgress {
  readonly app: string
  readonly address: string
  /** The app that gets it. Exactly one of `to` and `machine`. */
  readonly to?: string | undefined
  /** The machine that gets it for itself alone, of this app or of another one of the org. */
  readonly machine?: string | undefined
}

/**
 * Without a gap: machines that lose it go to their app's other pairs (or to the default egress), and
 * what they have open goes on in blocks that drain; machines that gain it send from it when hosts
 * steer to it.
 */
export async function moveEgress(
  control: Control,
  actor: Actor,
  input: MoveEgress,
): Promise<Changed<EgressPair>> {
  const to = await destination(control, actor, input)
  return changeEgress(
    control,
    actor,
    [input.app, to],
    async (read, [from, into], seatsOf) => {
      const { pair } = pairWithin(from!, input.address)
      if (into!.app.org !== from!.app.org)
        throw invalid(
          `app "${to}" is of org "${into!.app.org}" and cannot have an address of "${from!.app.org}"`,
        )
      const machine = input.machine ?? null
      if (machine !== null) {
        const seat = seatWithin(await seatsOf(to), to, machine)
        if (!pair.regions.includes(seat.region))
          throw invalid(
            `machine ${machine} is in ${seat.region}, and ${nameOf(pair)} is for ${pair.regions.join(', ')}; add its region to the address first`,
          )
        const own = into!.pairs.find((one) => one.machine === machine && one !== pair)
        if (own) throw invalid(`machine ${machine} already has ${nameOf(own)}; release that first`)
      }
      const isSame = pair.app === to && pair.machine === machine
      if (isSame) return { apps: [], ops: [], result: pair }
      const updatedAt = isoTime(control.clock.now())
      // Its pin named a group or a machine of the app that it leaves.
      const next: EgressPair = { ...pair, app: to, machine, pin: null, updatedAt }
      const ops = to === input.app ? [] : await rehold(control, read, next)
      return { apps: edits(from!, into!, pair, next), ops, result: next }
    },
    { begins: to },
  )
}

function edits(from: AppView, into: AppView, pair: EgressPair, next: EgressPair): AppEdit[] {
  if (from === into)
    return [{ view: from, pairs: from.pairs.map((one) => (one === pair ? next : one)) }]
  return [
    { view: from, pairs: from.pairs.filter((one) => one !== pair) },
    { view: into, pairs: [...into.pairs, next] },
  ]
}

/** The app that gets it, which the actor may act in. */
async function destination(control: Control, actor: Actor, input: MoveEgress): Promise<string> {
  const { to, machine } = input
  if ((to === undefined) === (machine === undefined))
    throw invalid('app, machine: name where the address goes to, one of the two')
  await appFor(control, actor, input.app)
  if (to !== undefined) return (await appNamedBy(control, actor, 'app', to)).name
  const app = await findMachineApp(control, actor, machine!).catch(() => undefined)
  if (!app) throw machineNotFound(machine!)
  return app.name
}

/** The addresses are the new app's from now on, also on the bill. */
async function rehold(control: Control, read: Read, pair: EgressPair): Promise<Op[]> {
  const nowMs = control.clock.now()
  const held: EgressAddress = { state: 'held', pair: pair.id, app: pair.app, org: pair.org }
  const ops: Op[] = []
  for (const address of [pair.v4, pair.v6]) {
    if (address === null) continue
    ops.push(put(keys.egressAddress(address), held))
    ops.push(...(await closeMeter(nowMs, read, pair.org, address, openMeter(nowMs, pair, address))))
  }
  return ops
}
