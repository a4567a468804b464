import { formatPrefix, parsePrefix } from '../base/ip.ts'
import type { Exec } from '../kernel/exec.ts'
import { inspect, make, render, type StampedTable } from './stamp.ts'

/**
 * The second lock. Loaded once by whoever holds the host, before it forwards anything and before the
 * agent, which never names this table: whatever becomes of the agent's own, nothing leaves the host
 * with a source that is not the host's.
 */
export const GUARD_TABLE = 'inet egress_guard'

export interface Guard {
  readonly wanDevice: string
  /**
   * Every public source of the host: its underlay addresses, the anycast pools, the egress pools
   * that it may translate to, and the prefix of its machines' default IPv6. The link-local addresses
   * of its own neighbour discovery are added.
   */
  readonly ownPrefixes: readonly string[]
}

const LINK_LOCAL = ['fe80::/10', '::/128']

/** The whole file, which replaces the table. Throws when a prefix is none. */
export const renderGuard = (guard: Guard): string => render(tableOf(guard))

/** Puts the guard in force; one that is there and equal is left alone. Answers whether it was. */
export async function applyGuard(exec: Exec, guard: Guard): Promise<{ unchanged: boolean }> {
  const table = tableOf(guard)
  if ((await inspect(exec, table)).asMade) return { unchanged: true }
  await make(exec, table)
  return { unchanged: false }
}

const tableOf = (guard: Guard): StampedTable => ({ table: GUARD_TABLE, body: body(guard) })

const body = ({ wanDevice, ownPrefixes }: Guard): string => `${set('own4', ownPrefixes, 4)}
${set('own6', [...ownPrefixes, ...LINK_LOCAL], 6)}
  counter wrong_source {
  }
  counter invalid {
  }
  # Live flows stay translated while no other chain of this kind is there.
  chain keep_nat {
    type nat hook postrouting priority srcnat + 10; policy accept;
  }
  chain known {
    type filter hook forward priority filter - 10; policy accept;
    oifname "${wanDevice}" ct state invalid counter name "invalid" drop
  }
  chain leaving {
    type filter hook postrouting priority srcnat + 50; policy accept;
    oifname != "${wanDevice}" return
    ip saddr @own4 return
    ip6 saddr @own6 return
    counter name "wrong_source" drop
  }
`

function set(name: string, prefixes: readonly string[], family: 4 | 6): string {
  const keys = prefixes.flatMap((text) => {
    const prefix = parsePrefix(text)
    if (!prefix)
      throw new Error(`egress guard: ${text} is not a prefix; write it as address/length`)
    return prefix.family === family ? [formatPrefix(prefix)] : []
  })
  const elements = keys.length > 0 ? ` elements = { ${keys.join(', ')} };` : ''
  return `  set ${name} { type ipv${family}_addr; flags interval; auto-merge;${elements} }`
}
