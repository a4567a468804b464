import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appFor, appWithin } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { type Done, del, inLane, put, type Read, readOne, transact } from '../transact.ts'
import { withRun } from './blocks.ts'
import { noRoom } from './errors.ts'
import { holdingsOf, type Plan, planMoves, type Seat, type Target } from './law.ts'
import {
  type AppEgress,
  type AppView,
  changeLane,
  egressLane,
  isAtRest,
  readSeats,
  readView,
  refuseTooManyPairs,
  setOps,
  underChange,
} from './records.ts'
import { settleEgress, tidyEgress } from './settle.ts'

/**
 * A change of an app's pairs, in two phases when machines have to send from elsewhere:
 *
 *   1. one transaction with the pairs as they shall be, in which the moved machines have their new
 *      blocks beside the old ones (hosts steer return traffic to both), and what is left to do;
 *   2. when the hosts concerned have that in force, the machines' records (settle.ts).
 *
 * A control plane that dies in between finds the rest in `egress-pending/`.
 */

/** What an edit makes of one app. */
export interface AppEdit {
  readonly view: AppView
  readonly pairs: readonly EgressPair[]
  /** Pairs that nothing may use any more, and that go in the end. */
  readonly releasing?: readonly EgressPair[]
  /** Machines that are to have this, whatever the law would choose; also to have it written anew. */
  readonly wishes?: readonly { readonly seat: Seat; readonly target: Target }[]
}

export interface Edit<R> {
  readonly apps: readonly AppEdit[]
  readonly ops: readonly Op[]
  readonly result: R
  /** Checks what the change would do to machines; throws to refuse it. */
  readonly accept?: (plan: Plan, app: string) => void
}

export interface Changed<R> {
  readonly result: R
  readonly revision: number
  /** Machines that send from elsewhere now, or from a block of another size. */
  readonly moved: readonly string[]
  /** Those of them that are back on the default egress. */
  readonly toDefault: readonly string[]
  /** Live hosts that had not brought the change in force when the wait was over. */
  readonly waiting: readonly string[]
}

type Editor<R> = (
  read: Read,
  views: readonly AppView[],
  seatsOf: (app: string) => Promise<readonly Seat[]>,
) => Promise<Edit<R>>

/** Changes the egress of one or more apps, on behalf of somebody who may. */
export async function changeEgress<R>(
  control: Control,
  actor: Actor,
  apps: readonly string[],
  edit: Editor<R>,
  options: ChangeOptions = {},
): Promise<Changed<R>> {
  // In one order, so that two changes of the same two apps do not wait for each other.
  const names = [...new Set(apps)].sort()
  // Before the lanes: who may not act in an app must not hold up those who may.
  for (const name of names) await appFor(control, actor, name)
  return inLanes(control, names.map(changeLane), async () => {
    for (const name of names) await settleEgress(control, name)
    const { result, revision } = await commit(control, actor, apps, edit, options)
    const waiting = new Set<string>()
    const regions = new Set(result.regions)
    for (const name of names) {
      const settled = await settleEgress(control, name)
      for (const host of settled.waiting) waiting.add(host)
    }
    const late = await control.egressAcks.waitFor(
      revision,
      control.config.attachWaitMs,
      (host) => revision > 0 && regions.has(host.region),
    )
    for (const host of late.waiting) waiting.add(host)
    const moved = result.moves.map(([machine]) => machine)
    const toDefault = result.moves.filter(([, target]) => !target).map(([machine]) => machine)
    return { result: result.own, revision, moved, toDefault, waiting: [...waiting].sort() }
  })
}

export interface ChangeOptions {
  /** The app that is given a pair, and that may have none yet. */
  readonly begins?: string
  /** For the transaction alone. */
  readonly lane?: string
}

async function commit<R>(
  control: Control,
  actor: Actor,
  apps: readonly string[],
  edit: Editor<R>,
  { begins, lane }: ChangeOptions,
): Promise<Done<Planned<R>>> {
  if (begins !== undefined) await beginEgress(control, actor, begins)
  const plan = async (read: Read) => {
    const planned = await planChange(control, actor, apps, edit, read)
    if (begins !== undefined && read.revisionOf(keys.appEgress(begins)) === 0)
      throw underChange(begins)
    return planned
  }
  try {
    return await inLanes(control, [...new Set(apps)].sort().map(egressLane), () =>
      transact(control, plan, lane === undefined ? {} : { lane }),
    )
  } catch (error) {
    if (begins !== undefined) await tidyEgress(control, begins)
    throw error
  }
}

/**
 * The app is known to have egress addresses from now on: machines that are made write its set, so
 * that none is made unseen while the first pair is planned.
 */
async function beginEgress(control: Control, actor: Actor, name: string): Promise<void> {
  if (await readOne<AppEgress>(control.store, keys.appEgress(name))) return
  await transact(control, async (read) => {
    const { set } = await readView(read, await appWithin(read, actor, name))
    if (read.revisionOf(keys.appEgress(name)) > 0) return { ops: [], result: undefined }
    // Pending, so that a set that stays empty is taken away again.
    const ops = [put(keys.appEgress(name), set), put(keys.egressPending(name), { app: name })]
    return { ops, result: undefined }
  })
}

interface Planned<R> {
  readonly own: R
  readonly moves: readonly (readonly [string, Target | null])[]
  readonly regions: readonly string[]
}

async function planChange<R>(
  control: Control,
  actor: Actor,
  names: readonly string[],
  edit: Editor<R>,
  read: Read,
): Promise<{ ops: Op[]; result: Planned<R> }> {
  const views: AppView[] = []
  for (const name of names) {
    const known = views.find((view) => view.app.name === name)
    const view = known ?? (await readView(read, await appWithin(read, actor, name)))
    // Somebody else, with another process, is between two phases.
    if (!isAtRest(view.set)) throw underChange(name)
    views.push(view)
  }
  const seats = new Map<string, Promise<readonly Seat[]>>()
  const seatsOf = (app: string) => {
    const known = seats.get(app) ?? readSeats(control, app)
    seats.set(app, known)
    return known
  }
  const made = await edit(read, views, seatsOf)
  const ops: Op[] = [...made.ops]
  const moves: [string, Target | null][] = []
  for (const app of made.apps) {
    const plan = planApp(control, app, await seatsOf(app.view.app.name))
    made.accept?.(plan, app.view.app.name)
    if (plan.over.length > 0) throw noRoom(app.view.app.name, plan.over, app.pairs)
    ops.push(...appOps(app, plan))
    moves.push(...plan.moves)
  }
  const regions = made.apps.flatMap(({ view, pairs }) =>
    [...view.pairs, ...pairs].flatMap((pair) => pair.regions),
  )
  return { ops, result: { own: made.result, moves, regions } }
}

function planApp(control: Control, edit: AppEdit, seats: readonly Seat[]): Plan {
  const holdings = holdingsOf(edit.view.pairs)
  const pairs = new Map(edit.pairs.map((pair) => [pair.id, pair]))
  const wished = new Map<string, Target>()
  for (const { seat, target } of edit.wishes ?? []) {
    const pair = pairs.get(target.pair)!
    const owner = { machine: seat.id, host: seat.host }
    pairs.set(pair.id, { ...pair, blocks: withRun(pair.blocks, owner, target) })
    holdings.set(seat.id, target)
    wished.set(seat.id, target)
  }
  const plan = planMoves([...pairs.values()], seats, holdings, control.random)
  return { ...plan, moves: new Map([...wished, ...plan.moves]) }
}

function appOps(edit: AppEdit, plan: Plan): Op[] {
  const { view, releasing = [] } = edit
  const known = new Map(view.pairs.map((pair) => [pair.id, pair]))
  const pairs = [...plan.pairs, ...releasing]
  refuseTooManyPairs(view.app.name, pairs.length)
  const set: AppEgress = {
    pairs: pairs.map((pair) => pair.id),
    moves: Object.fromEntries(plan.moves),
    releasing: releasing.map((pair) => pair.id),
  }
  const changed = pairs.filter((pair) => known.get(pair.id) !== pair)
  const written = setOps(view.app.name, view.set, set)
  // `beginEgress` has marked the app; a set that is at rest again needs no mark.
  const unmarked = isAtRest(set) ? [del(keys.egressPending(view.app.name))] : []
  return [...changed.map((pair) => put(keys.egress(pair.id), pair)), ...written, ...unmarked]
}

function inLanes<T>(
  control: Control,
  lanes: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const [first, ...others] = lanes
  if (first === undefined) return work()
  return inLane(control.store, first, () => inLanes(control, others, work))
}
