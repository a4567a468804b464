import { keys } from '../../model/keys.ts'
import { EGRESS_SLOTS, type EgressBlock, type EgressPair } from '../../model/resources.ts'
import { appFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { readOne } from '../transact.ts'
import { usedSlots } from './blocks.ts'
import { type AppEgress, readPairs } from './records.ts'

/** An app's pairs, machine-scoped ones included, oldest first. */
export async function listEgress(
  control: Control,
  actor: Actor,
  name: string,
): Promise<EgressPair[]> {
  const app = await appFor(control, actor, name)
  const set = await readOne<AppEgress>(control.store, keys.appEgress(app.name))
  const peek = <T>(key: string) => readOne<T>(control.store, key)
  const pairs = await readPairs({ peek }, set?.pairs ?? [])
  return pairs
    .filter((pair) => pair.app === name && pair.org === app.org)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** One address of a pair, as people see it. */
export interface EgressRow {
  /** The pair's: both of its addresses have it. */
  readonly id: string
  readonly ip: string
  readonly version: 4 | 6
  /** The home, whose pool it comes from. */
  readonly region: string
  readonly regions: readonly string[]
  readonly machine_id: string | null
  readonly pin: EgressPair['pin']
  readonly state: EgressPair['state']
  readonly machines: readonly {
    readonly id: string | null
    readonly slot: number
    readonly count: number
    readonly host: string
    readonly state: EgressBlock['state']
  }[]
  readonly blocks_used: number
  readonly blocks_total: number
  readonly created_at: string
  readonly updated_at: string
  readonly price_per_month: string
}

/** The rows of a pair, IPv4 first. */
export function egressRows({ config }: Pick<Control, 'config'>, pair: EgressPair): EgressRow[] {
  const { egressV4PerMonth, egressV6PerMonth } = config.prices
  return [pair.v4, pair.v6].flatMap((ip): EgressRow[] => {
    if (ip === null) return []
    const version = ip.includes(':') ? 6 : 4
    return [
      {
        id: pair.id,
        ip,
        version,
        region: pair.regions[0]!,
        regions: pair.regions,
        machine_id: pair.machine,
        pin: pair.pin,
        state: pair.state,
        machines: pair.blocks.map(({ machine, slot, count, host, state }) => ({
          id: machine,
          slot,
          count,
          host,
          state,
        })),
        blocks_used: usedSlots(pair.blocks),
        blocks_total: EGRESS_SLOTS,
        created_at: pair.createdAt,
        updated_at: pair.updatedAt,
        price_per_month: version === 4 ? egressV4PerMonth : egressV6PerMonth,
      },
    ]
  })
}
