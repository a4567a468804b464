import type { EgressPair, Endpoint } from '../../model/resources.ts'
import { findRun, isUsedBy, type Run, usedSlots, withRun } from './blocks.ts'

/**
 * Which machine sends from which pair (E3, E9). A machine has a block if and only if an active pair
 * is meant for it: its own machine-scoped one; else those of its app and region that are pinned to
 * it; else those pinned to its process group; else those pinned to nobody. The first of these that
 * there is counts, full or not: who pins an address wants that address and no other.
 */

/** A machine as the law sees it. */
export interface Seat {
  readonly id: string
  readonly host: string
  readonly region: string
  readonly group: string
  readonly listening: readonly number[]
}

/** Where a machine is to send from. */
export interface Target extends Run {
  readonly pair: string
}

/** The process group of `[deploy] release_command`: it acts for every group. */
const RELEASE_GROUP = 'fly_app_release_command'

export const seatOf = (endpoint: Endpoint): Seat => ({
  id: endpoint.machine,
  host: endpoint.host,
  region: endpoint.region,
  group: endpoint.group,
  listening: endpoint.services.map((service) => service.internalPort),
})

/**
 * Ids of the pairs that a machine may send from: those of the first list before those of the second.
 * None at all: it has the default egress of its host.
 */
export type Eligibility = (seat: Seat) => readonly (readonly string[])[]

/** Built once for many machines, of which most have the same answer. */
export function eligibility(pairs: readonly EgressPair[]): Eligibility {
  const active = pairs.filter((pair) => pair.state === 'active')
  const shared = active.filter((pair) => pair.machine === null)
  const ofMachine = Map.groupBy(active, (pair) => pair.machine)
  const pinnedTo = Map.groupBy(shared, (pair) => pinOf(pair).machine)
  const ofGroup = new Map<string, string[][]>()
  return (seat) => {
    const isHere = (pair: EgressPair) => pair.regions.includes(seat.region)
    const ids = (some: readonly EgressPair[] | undefined) =>
      (some ?? []).filter(isHere).map((pair) => pair.id)
    for (const own of [ids(ofMachine.get(seat.id)), ids(pinnedTo.get(seat.id))])
      if (own.length > 0) return [own]
    const key = `${seat.region}/${seat.group}`
    const known = ofGroup.get(key) ?? sharedLists(shared.filter(isHere), seat.group)
    ofGroup.set(key, known)
    return known
  }
}

function sharedLists(pairs: readonly EgressPair[], group: string): string[][] {
  const isRelease = group === RELEASE_GROUP
  const ids = (some: readonly EgressPair[]) => some.map((pair) => pair.id)
  const unpinned = ids(pairs.filter((pair) => pair.pin === null))
  const groups = ids(
    pairs.filter((pair) => {
      const pin = pinOf(pair).group
      return pin !== undefined && (isRelease || pin === group)
    }),
  )
  if (isRelease) return [unpinned, groups].filter((list) => list.length > 0)
  const list = groups.length > 0 ? groups : unpinned
  return list.length > 0 ? [list] : []
}

const pinOf = (pair: EgressPair): { readonly group?: string; readonly machine?: string } =>
  pair.pin ?? {}

/**
 * A place for `count` adjacent slots: on a pair with both families before one with a single family,
 * then on the one with the fewest slots taken, chance among equals. Undefined when none has room.
 */
export function choosePlace(
  lists: readonly (readonly string[])[],
  pairOf: (id: string) => EgressPair,
  seat: Seat,
  count: number,
  random: () => number,
): { readonly pair: EgressPair; readonly run: Run } | undefined {
  for (const list of lists) {
    const ranked = list
      .map(pairOf)
      .map((pair) => ({
        pair,
        halves: Number(pair.v4 === null) + Number(pair.v6 === null),
        used: usedSlots(pair.blocks),
        chance: random(),
      }))
      .sort((a, b) => a.halves - b.halves || a.used - b.used || a.chance - b.chance)
    for (const { pair } of ranked) {
      const run = findRun(pair.blocks, count, seat.listening, random)
      if (run) return { pair, run }
    }
  }
  return undefined
}

export interface Plan {
  /** Only machines that must change; null: back to the default egress. */
  readonly moves: ReadonlyMap<string, Target | null>
  /** The pairs with the blocks that the moves need, beside those that machines still have. */
  readonly pairs: EgressPair[]
  /** Machines for which there are pairs, but no room on them. */
  readonly over: readonly Seat[]
}

/**
 * What has to change so that the law holds for all `seats`, given what each one sends from now.
 * Machines with holdings but no seat are on their way out, and leave only pairs that are not given.
 */
export function planMoves(
  given: readonly EgressPair[],
  seats: readonly Seat[],
  holdings: ReadonlyMap<string, Target>,
  random: () => number,
): Plan {
  const pairs = new Map(given.map((pair) => [pair.id, pair]))
  const eligible = eligibility(given)
  const moves = new Map<string, Target | null>()
  const over: Seat[] = []
  // Large blocks first: they find room while there is some side by side.
  const countOf = (seat: Seat) => holdings.get(seat.id)?.count ?? 1
  for (const seat of seats.toSorted((a, b) => countOf(b) - countOf(a))) {
    const held = holdings.get(seat.id)
    const lists = eligible(seat)
    if (held && lists.some((list) => list.includes(held.pair))) continue
    if (lists.length === 0) {
      if (held) moves.set(seat.id, null)
      continue
    }
    const place = choosePlace(lists, (id) => pairs.get(id)!, seat, countOf(seat), random)
    if (!place) {
      over.push(seat)
      continue
    }
    const { pair, run } = place
    const owner = { machine: seat.id, host: seat.host }
    pairs.set(pair.id, { ...pair, blocks: withRun(pair.blocks, owner, run) })
    moves.set(seat.id, { pair: pair.id, ...run })
  }
  // Who is being destroyed keeps what it has; what leaves the app may be somebody else's soon.
  const seated = new Set(seats.map((seat) => seat.id))
  for (const [machine, held] of holdings)
    if (!seated.has(machine) && !pairs.has(held.pair)) moves.set(machine, null)
  return { moves, pairs: [...pairs.values()], over }
}

/** What each machine sends from, as the pairs say: its block in use. */
export function holdingsOf(pairs: Iterable<EgressPair>): Map<string, Target> {
  const holdings = new Map<string, Target>()
  for (const { id, blocks } of pairs) {
    for (const block of blocks) {
      const { machine, slot, count } = block
      if (machine !== null && isUsedBy(block, machine))
        holdings.set(machine, { pair: id, slot, count })
    }
  }
  return holdings
}
