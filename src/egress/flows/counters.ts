import { z } from 'zod'
import { canonicalIp } from '../../base/ip.ts'
import type { Exec } from '../../kernel/exec.ts'
import { isGone } from '../observe.ts'
import { DROP_REASONS, EGRESS_TABLE } from '../ruleset.ts'

/** Named counters of the tables that decide about egress, as the kernel has them now. */

export const COUNTED_TABLES = ['egress', 'egress_guard'] as const

export interface NamedCounter {
  readonly table: (typeof COUNTED_TABLES)[number]
  readonly name: string
  readonly packets: number
  readonly bytes: number
}

const Listed = z.object({
  nftables: z.array(
    z.looseObject({
      counter: z
        .object({
          family: z.string(),
          table: z.string(),
          name: z.string().regex(/^[a-z][a-z0-9_]{0,62}$/),
          packets: z.number().int().min(0),
          bytes: z.number().int().min(0),
        })
        .optional(),
    }),
  ),
})
const COUNTERS_MAX = 256

/** A table that is not there has none. Throws when nft answers what it should not. */
export async function readCounters(exec: Exec): Promise<NamedCounter[]> {
  const lists = await Promise.all(COUNTED_TABLES.map((table) => readTable(exec, table)))
  return lists.flat()
}

async function readTable(
  exec: Exec,
  table: NamedCounter['table'],
): Promise<readonly NamedCounter[]> {
  try {
    const json = await exec.run(['nft', '-j', 'list', 'counters', 'table', 'inet', table])
    const { nftables } = Listed.parse(JSON.parse(json))
    return nftables.slice(0, COUNTERS_MAX).flatMap(({ counter }) => {
      if (counter?.family !== 'inet' || counter.table !== table) return []
      const { name, packets, bytes } = counter
      return [{ table, name, packets, bytes }]
    })
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

/**
 * What the kernel counts by machine, of the last hour: packets dropped by reason, and how often a
 * connection took the last port that the block had to its destination. By private address.
 */
export interface MachineCounts {
  readonly drops: ReadonlyMap<string, Readonly<Record<string, number>>>
  readonly full: ReadonlyMap<string, number>
}
export const NO_COUNTS: MachineCounts = { drops: new Map(), full: new Map() }

const REASONS = new Map(Object.entries(DROP_REASONS).map(([name, mark]) => [mark as number, name]))

/** A table that is not there has counted nothing. Throws when nft answers what it should not. */
export async function readMachineCounts(exec: Exec): Promise<MachineCounts> {
  const [drops, full] = [new Map<string, Record<string, number>>(), new Map<string, number>()]
  for (const set of ['drops4', 'drops6'])
    for (const { key, packets } of await readSet(exec, set)) {
      const address = addressIn(key)
      const reason = REASONS.get(Number(key[1])) ?? 'other'
      drops.set(address, { ...drops.get(address), [reason]: packets })
    }
  for (const set of ['full4', 'full6'])
    for (const { key, packets } of await readSet(exec, set))
      full.set(addressIn(key), (full.get(addressIn(key)) ?? 0) + packets)
  return { drops, full }
}

const Element = z.object({
  elem: z.looseObject({
    val: z.object({ concat: z.array(z.union([z.string(), z.number()])).min(2) }),
    counter: z.looseObject({ packets: z.number().int().min(0) }),
  }),
})
const ListedSet = z.object({
  nftables: z.array(
    z.looseObject({ set: z.looseObject({ elem: z.array(Element).optional() }).optional() }),
  ),
})

async function readSet(exec: Exec, name: string) {
  try {
    const argv = ['nft', '-j', 'list', 'set', ...EGRESS_TABLE.split(' '), name]
    const { nftables } = ListedSet.parse(JSON.parse(await exec.run(argv)))
    return nftables
      .flatMap(({ set }) => set?.elem ?? [])
      .map(({ elem }) => ({ key: elem.val.concat, packets: elem.counter.packets }))
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

const addressIn = ([text]: readonly (string | number)[]): string =>
  canonicalIp(String(text)) ?? String(text)

/** Of one machine, over all of its addresses. */
export function countsOf(
  counts: MachineCounts,
  addresses: readonly string[],
): { dropped: Record<string, number>; full: number } {
  const dropped: Record<string, number> = {}
  let full = 0
  for (const address of addresses) {
    full += counts.full.get(address) ?? 0
    for (const [reason, packets] of Object.entries(counts.drops.get(address) ?? {}))
      dropped[reason] = (dropped[reason] ?? 0) + packets
  }
  return { dropped, full }
}
