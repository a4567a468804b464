import type { Exec } from '../kernel/exec.ts'
import { isGone } from './observe.ts'
import { DROP_REASONS, type DropReason, EGRESS_TABLE, REMEMBERED_S } from './ruleset.ts'

/** What the table has counted since it was made; it may be made anew, and then begins at 0. */
export interface EgressCounters {
  /** Packets that were not let out. */
  readonly dropped: Readonly<Record<DropReason, number>>
  /** Connections that took the last port of a block towards a destination. */
  readonly blockFull: number
  /** Packets that were sent on to the host that translates them back. */
  readonly steered: number
  /** The same by private address; kept for an hour after the last, also when the machine is gone. */
  readonly drops: readonly {
    readonly address: string
    readonly reason: DropReason
    readonly packets: number
    readonly lastAtMs: number
  }[]
  readonly full: readonly {
    readonly address: string
    readonly destination: string
    readonly protocol: string
    readonly port: number
    readonly times: number
    readonly lastAtMs: number
  }[]
}

/** Of the calling process's namespace; all zero when there is no table. `nowMs` dates what is told. */
export async function readCounters(exec: Exec, nowMs: number): Promise<EgressCounters> {
  const list = async (...words: string[]): Promise<readonly Listed[]> => {
    try {
      return (JSON.parse(await exec.run(['nft', '-j', 'list', ...words])) as Output).nftables
    } catch (error) {
      if (isGone(error)) return []
      throw error
    }
  }
  const table = EGRESS_TABLE.split(' ')
  const counters = await list('counters', 'table', ...table)
  const packets = (name: string) =>
    counters.find(({ counter }) => counter?.name === name)?.counter?.packets ?? 0
  const elements = async (name: string) =>
    (await list('set', ...table, name)).flatMap(({ set }) => set?.elem ?? [])
  const drops = [...(await elements('drops4')), ...(await elements('drops6'))]
  const full = [...(await elements('full4')), ...(await elements('full6'))]
  const lastAtMs = ({ elem }: Element) => nowMs - 1_000 * (REMEMBERED_S - elem.expires)
  const reasons = Object.keys(DROP_REASONS) as DropReason[]
  return {
    dropped: Object.fromEntries(reasons.map((r) => [r, packets(r)])) as Record<DropReason, number>,
    blockFull: packets('block_full'),
    steered: packets('steered'),
    drops: drops.flatMap((drop) => {
      const [address, number] = drop.elem.val.concat
      const reason = reasons.find((r) => DROP_REASONS[r] === number)
      if (!reason) return []
      const { packets: count } = drop.elem.counter
      return { address: String(address), reason, packets: count, lastAtMs: lastAtMs(drop) }
    }),
    full: full.map((row) => {
      const [address, destination, protocol, port] = row.elem.val.concat
      return {
        address: String(address),
        destination: String(destination),
        protocol: String(protocol),
        port: Number(port),
        times: row.elem.counter.packets,
        lastAtMs: lastAtMs(row),
      }
    }),
  }
}

interface Output {
  readonly nftables: readonly Listed[]
}

interface Listed {
  readonly counter?: { readonly name: string; readonly packets: number }
  readonly set?: { readonly elem?: readonly Element[] }
}

/** `expires` in seconds: what is left of REMEMBERED_S. */
interface Element {
  readonly elem: {
    readonly val: { readonly concat: readonly (string | number)[] }
    readonly expires: number
    readonly counter: { readonly packets: number }
  }
}
