import { canonicalIp } from '../base/ip.ts'
import { CommandError, type Exec } from '../kernel/exec.ts'
import { EGRESS_TABLE } from './ruleset.ts'

/** The elements of the table's maps in the kernel, by one command; none when it is not there. */
export async function observeElements(exec: Exec): Promise<Map<string, string>> {
  const [family, table] = EGRESS_TABLE.split(' ')
  const { nftables } = JSON.parse(await exec.run(['nft', '-j', 'list', 'maps', family!])) as Listed
  const maps = nftables.flatMap(({ map }) => (map?.table === table ? [map!] : []))
  return new Map(
    maps.flatMap(({ name, elem = [] }) =>
      elem.map(([key, data]): [string, string] => [`${name} ${keyText(key)}`, dataText(data)]),
    ),
  )
}

/** Whether a command failed because the table is not there. */
export const isGone = (error: unknown): boolean =>
  error instanceof CommandError && error.stderr.includes('No such file')

interface Listed {
  readonly nftables: readonly { readonly map?: ListedMap }[]
}

interface ListedMap {
  readonly table: string
  readonly name: string
  readonly elem?: readonly (readonly [Key, string | number | Verdict])[]
}

type Key = string | number | { readonly concat: readonly (string | number)[] }
type Verdict = Readonly<Record<string, { readonly target: string } | null>>

const keyText = (key: Key): string =>
  typeof key === 'object' ? key.concat.map(text).join(' . ') : text(key)

const text = (part: string | number): string =>
  typeof part === 'string' ? (canonicalIp(part) ?? part) : String(part)

function dataText(data: string | number | Verdict): string {
  if (typeof data !== 'object') return text(data)
  const [verb, target] = Object.entries(data)[0] ?? ['', null]
  return target ? `${verb} ${target.target}` : verb
}
