import { EGRESS_SLOTS, type EgressBlock } from '../../model/resources.ts'

/** Slots of one pair and the blocks that occupy them. Nothing here knows who may have which. */

export interface Run {
  /** The first slot. */
  readonly slot: number
  readonly count: number
}

const PORTS_PER_SLOT = 1_024

/** The ports of a run, both ends included. Port 0 is none, so slot 0 begins at 1. */
export const portsOf = ({ slot, count }: Run): { from: number; to: number } => ({
  from: Math.max(1, slot * PORTS_PER_SLOT),
  to: (slot + count) * PORTS_PER_SLOT - 1,
})

/** How many slots are taken, draining ones included. */
export const usedSlots = (blocks: readonly Run[]): number =>
  blocks.reduce((sum, block) => sum + block.count, 0)

/** How many free slots there are side by side at most. */
export function longestFreeRun(blocks: readonly Run[]): number {
  let longest = 0
  let run = 0
  for (const isTaken of takenSlots(blocks)) {
    run = isTaken ? 0 : run + 1
    longest = Math.max(longest, run)
  }
  return longest
}

/**
 * A free run of `count` slots. Slot 0 (one port less, and the ports that need privileges) comes last,
 * before it those with a port that the machine itself listens on, which it could not send from.
 * Among equals chance decides, so that a block freed just now, of which the far end may remember
 * connections, is rarely the next one given out.
 */
export function findRun(
  blocks: readonly Run[],
  count: number,
  listening: readonly number[],
  random: () => number,
): Run | undefined {
  const taken = takenSlots(blocks)
  const busy = new Set(listening.map((port) => Math.floor(port / PORTS_PER_SLOT)))
  let best: Run[] = []
  let bestCost = Infinity
  for (let slot = 0; slot + count <= EGRESS_SLOTS; slot++) {
    if (taken.slice(slot, slot + count).includes(true)) continue
    const cost = costOf({ slot, count }, busy)
    if (cost < bestCost) best = []
    bestCost = Math.min(cost, bestCost)
    if (cost === bestCost) best.push({ slot, count })
  }
  return best[Math.floor(random() * best.length)]
}

/**
 * Where a block can grow or shrink to `count` slots and keep those that it has: upwards rather than
 * downwards; undefined when its neighbours are taken.
 */
export function resizeInPlace(blocks: readonly Run[], own: Run, count: number): Run | undefined {
  if (count <= own.count) return { slot: own.slot, count }
  const taken = takenSlots(blocks.filter((block) => block.slot !== own.slot))
  const lowest = Math.max(0, own.slot + own.count - count)
  for (let slot = own.slot; slot >= lowest; slot--) {
    const fits = slot + count <= EGRESS_SLOTS
    if (fits && !taken.slice(slot, slot + count).includes(true)) return { slot, count }
  }
  return undefined
}

/** The blocks after a machine was given `run`, beside what it still has elsewhere. */
export function withRun(
  blocks: readonly EgressBlock[],
  owner: { readonly machine: string; readonly host: string },
  run: Run,
): EgressBlock[] {
  const own = blocks.find((b) => isUsedBy(b, owner.machine) && overlap(b, run))
  // It shrinks: what it gives up is in use until the machine itself has let go of it.
  if (own && contains(own, run)) return [...blocks]
  return sorted([...blocks.filter((b) => b !== own), { ...run, ...owner, state: 'use' }])
}

/** The blocks once the machine sends from `run` alone (null: from none): the rest of its own drains. */
export function settledOn(
  blocks: readonly EgressBlock[],
  machine: string,
  run: Run | null,
): EgressBlock[] {
  return sorted(
    blocks.flatMap((block): EgressBlock[] => {
      if (!isUsedBy(block, machine)) return [block]
      if (!run || !overlap(block, run)) return [{ ...block, state: 'drain' }]
      const end = run.slot + run.count
      const above = block.slot + block.count - end
      const below = run.slot - block.slot
      return [
        ...(below > 0 ? [{ ...block, count: below, state: 'drain' as const }] : []),
        { ...block, ...run },
        ...(above > 0 ? [{ ...block, slot: end, count: above, state: 'drain' as const }] : []),
      ]
    }),
  )
}

export const withoutMachine = (blocks: readonly EgressBlock[], machine: string): EgressBlock[] =>
  blocks.filter((block) => block.machine !== machine)

export const isUsedBy = (block: EgressBlock, machine: string): boolean =>
  block.machine === machine && block.state === 'use'

function takenSlots(blocks: readonly Run[]): boolean[] {
  const taken = Array<boolean>(EGRESS_SLOTS).fill(false)
  for (const { slot, count } of blocks) taken.fill(true, slot, slot + count)
  return taken
}

function costOf({ slot, count }: Run, busy: ReadonlySet<number>): number {
  let cost = slot === 0 ? EGRESS_SLOTS + 1 : 0
  for (let i = slot; i < slot + count; i++) if (busy.has(i)) cost += 1
  return cost
}

const overlap = (a: Run, b: Run): boolean => a.slot < b.slot + b.count && b.slot < a.slot + a.count

const contains = (outer: Run, inner: Run): boolean =>
  outer.slot <= inner.slot && inner.slot + inner.count <= outer.slot + outer.count

const sorted = (blocks: EgressBlock[]): EgressBlock[] => blocks.sort((a, b) => a.slot - b.slot)
