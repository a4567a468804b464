import { isoTime } from '../../base/clock.ts'
import { keys } from '../../model/keys.ts'
import type { App, EgressPair, Machine, MachineEgress } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import type { Control } from '../context.ts'
import { put, type Read } from '../transact.ts'
import { withoutMachine, withRun } from './blocks.ts'
import { EditedPairs } from './edited-pairs.ts'
import { noRoom, stillMoving } from './errors.ts'
import { choosePlace, eligibility, holdingsOf, type Seat, type Target } from './law.ts'
import { type AppEgress, machineEgress, readPairs, readView, setOps } from './records.ts'
import { releasePairOps } from './release-ops.ts'

/** What machines do to egress: they take a block when they are made, and give it back when they go. */

export interface BlockClaim {
  /** What the machine's record says. */
  readonly egress: MachineEgress | null
  readonly ops: readonly Op[]
}

/**
 * A block for a machine that is being made, in the transaction that makes it. Throws `egress_full`
 * when there are pairs for it but no room.
 */
export async function claimBlock(
  control: Control,
  read: Read,
  app: App,
  seat: Seat,
): Promise<BlockClaim> {
  const { set, pairs } = await readView(read, app)
  // Compared, so that no first pair is planned without this machine.
  if (read.revisionOf(keys.appEgress(app.name)) === 0) return { egress: null, ops: [] }
  const placed = place(control, app, usable(set, pairs), seat, 1)
  const egress = machineEgress(placed?.target ?? null, () => placed?.pair)
  const written = placed ? [put(keys.egress(placed.pair.id), placed.pair)] : []
  // Written although it stays the same: a change that is being planned must notice the machine.
  return { egress, ops: [...written, put(keys.appEgress(app.name), set)] }
}

/**
 * For a machine whose process group changes: where it has to go, as the first phase of a move that
 * `settleEgress` ends. No ops: it may stay.
 */
export async function regroupOps(
  control: Control,
  read: Read,
  app: App,
  seat: Seat,
): Promise<Op[]> {
  const { set, pairs } = await readView(read, app)
  if (read.revisionOf(keys.appEgress(app.name)) === 0) return []
  if (seat.id in set.moves) throw stillMoving(seat.id)
  const held = holdingsOf(pairs).get(seat.id)
  const open = usable(set, pairs)
  const unchanged = [put(keys.appEgress(app.name), set)]
  if (held && eligibility(open)(seat).some((list) => list.includes(held.pair))) return unchanged
  const placed = place(control, app, open, seat, held?.count ?? 1)
  if (!placed && !held) return unchanged
  const moves = { ...set.moves, [seat.id]: placed?.target ?? null }
  return [
    ...(placed ? [put(keys.egress(placed.pair.id), placed.pair)] : []),
    ...setOps(app.name, set, { ...set, moves }),
  ]
}

/** What a machine that is gone leaves: its blocks, and the pair that was its alone. */
export async function vacateOps(control: Control, read: Read, machine: Machine): Promise<Op[]> {
  const set = await read.get<AppEgress>(keys.appEgress(machine.app))
  const pairs = set ? await readPairs(read, set.pairs) : []
  const own = pairs.filter((pair) => pair.machine === machine.id)
  const gone = new Set(own.map((pair) => pair.id))
  const left = pairs
    .filter((pair) => pair.blocks.some((block) => block.machine === machine.id))
    .map((pair) => pair.id)
  // The pair that it sends from may have gone to another app just now.
  if (machine.egress) left.push(machine.egress.pair)
  const edited = new EditedPairs(read, machine.app)
  for (const id of left)
    if (!gone.has(id)) await edited.edit(id, (blocks) => withoutMachine(blocks, machine.id))
  const ops = [
    ...edited.ops(isoTime(control.clock.now())),
    ...(await releasePairOps(control, read, own)),
  ]
  const { [machine.id]: move, ...moves } = set?.moves ?? {}
  if (!set || (ops.length === 0 && move === undefined)) return ops
  const after: AppEgress = {
    pairs: set.pairs.filter((id) => !gone.has(id)),
    releasing: set.releasing.filter((id) => !gone.has(id)),
    moves,
  }
  return [...ops, ...setOps(machine.app, set, after)]
}

/** Pairs that are on their way out take nobody. */
const usable = (set: AppEgress, pairs: readonly EgressPair[]): EgressPair[] =>
  pairs.filter((pair) => !set.releasing.includes(pair.id))

/** Undefined: no pair is for it. */
function place(
  control: Control,
  app: App,
  pairs: readonly EgressPair[],
  seat: Seat,
  count: number,
): { readonly pair: EgressPair; readonly target: Target } | undefined {
  const lists = eligibility(pairs)(seat)
  if (lists.length === 0) return undefined
  const pairOf = (id: string) => pairs.find((pair) => pair.id === id)!
  const chosen = choosePlace(lists, pairOf, seat, count, control.random)
  if (!chosen) throw noRoom(app.name, [seat], lists.flat().map(pairOf))
  const { pair, run } = chosen
  const owner = { machine: seat.id, host: seat.host }
  const blocks = withRun(pair.blocks, owner, run)
  const updatedAt = isoTime(control.clock.now())
  return { pair: { ...pair, blocks, updatedAt }, target: { pair: pair.id, ...run } }
}
