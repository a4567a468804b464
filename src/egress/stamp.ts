import { createHash } from 'node:crypto'
import type { Exec } from '../kernel/exec.ts'
import { applyRuleset } from '../kernel/nft.ts'
import { isGone } from './observe.ts'

/**
 * A table that can be recognised. nft prints a table otherwise than it was written, so that its text
 * cannot be compared; an empty chain of it is named after the text that it was made from and after
 * what nft printed right then. While both are still so, the table is as it was made.
 */
export interface StampedTable {
  /** `family name`. */
  readonly table: string
  /** What stands between its braces. */
  readonly body: string
  /** Chains that come and go, whose absence or presence is no change; elements are none then. */
  readonly changing?: (chain: string) => boolean
}

/** The file that replaces the table, with `more` commands in the same transaction. */
export const render = ({ table, body }: StampedTable, more: readonly string[] = []): string =>
  `table ${table} {\n}\ndelete table ${table}\ntable ${table} {\n${body}}\n${more.join('\n')}\n`

/** Replaces the table in one transaction, then stamps it. */
export async function make(exec: Exec, t: StampedTable, more?: readonly string[]): Promise<void> {
  await applyRuleset(exec, render(t, more))
  const listed = await printed(exec, t)
  if (listed === undefined) throw new Error(`the table ${t.table} was deleted while it was made`)
  await applyRuleset(exec, `add chain ${t.table} made_${hash(t.body)}_${fingerprint(listed, t)}\n`)
}

/**
 * Whether the kernel's table was made from this body and nobody has changed it since; with what nft
 * prints of its changing chains, which can be compared with itself alone.
 */
export async function inspect(
  exec: Exec,
  t: StampedTable,
): Promise<{ readonly asMade: boolean; readonly chains: ReadonlyMap<string, string> }> {
  const listed = await printed(exec, t)
  if (listed === undefined) return { asMade: false, chains: new Map() }
  const [, made, found] = STAMP.exec(listed) ?? []
  const chains = [...listed.matchAll(CHAIN)]
    .filter(([, name]) => t.changing?.(name!))
    .map(([text, name]): [string, string] => [name!, text.trim()])
  return {
    asMade: made === hash(t.body) && found === fingerprint(listed, t),
    chains: new Map(chains),
  }
}

const STAMP = /^\tchain made_([0-9a-f]+)_([0-9a-f]+) \{\n\t\}\n/m
const CHAIN = /^\tchain (\S+) \{\n(?:\t\t.*\n)*\t\}\n/gm
const HASH_CHARS = 16

const hash = (text: string): string =>
  createHash('sha256').update(text).digest('hex').slice(0, HASH_CHARS)

/** Without counts, and without elements where those change. */
async function printed(exec: Exec, { table, changing }: StampedTable): Promise<string | undefined> {
  const terse = changing ? ['-t'] : []
  try {
    return await exec.run(['nft', '-s', ...terse, 'list', 'table', ...table.split(' ')])
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

function fingerprint(listed: string, { changing }: StampedTable): string {
  const fixed = listed
    .replace(STAMP, '')
    .replace(CHAIN, (text, name: string) => (changing?.(name) ? '' : text))
  return hash(fixed.replace(/\n+/g, '\n'))
}
