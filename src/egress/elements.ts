import { parseIp } from '../base/ip.ts'
import { type Block, blockOfChain, blockRules, natChain, useChain } from './blocks.ts'
import type { SlotOwner } from './egress-table.ts'
import { steerMark } from './marks.ts'
import { EGRESS_TABLE } from './ruleset.ts'

/** Elements of the table's maps: `addr4 172.16.0.2` to `198.51.100.2`. */
export type Elements = ReadonlyMap<string, string>

/** From which address one private address leaves. */
export interface Source {
  /** Canonical; null when nothing of this family may leave. */
  readonly address: string | null
  /** Null is default egress: any port. */
  readonly block: Block | null
  /** Sources that it had before: flows that began with them go on, new ones do not begin. */
  readonly kept: readonly string[]
}

/** Private address, canonical, to its source. */
export type Sources = ReadonlyMap<string, Source>

const familyOf = (address: string): '4' | '6' => (address.includes(':') ? '6' : '4')

export const sameSource = (a: Source | undefined, b: Source): boolean =>
  a?.address === b.address && a.block?.slot === b.block?.slot && a.block?.count === b.block?.count

/** What makes `address` leave as `source` says. */
export function elementsOf(address: string, source: Source | undefined): [string, string][] {
  if (!source) return []
  const v = familyOf(address)
  const pairs = (sources: readonly string[]) =>
    sources.map((s): [string, string] => [`pairs${v} ${address} . ${s}`, 'return'])
  if (source.address === null)
    return [[`gate${v} ${address}`, 'goto closed_family'], ...pairs(source.kept)]
  return [
    [`gate${v} ${address}`, source.block ? `goto ${useChain(source.block)}` : 'accept'],
    [`source${v} ${address}`, `goto ${source.block ? natChain(source.block) : 'nat_default'}`],
    [`addr${v} ${address}`, source.address],
    ...pairs([...new Set([source.address, ...source.kept])]),
  ]
}

/** The sources that elements stand for; what makes no whole is left out, and so closed. */
export function sourcesOf(elements: Elements): Map<string, Source> {
  const kept = new Map<string, string[]>()
  for (const key of elements.keys()) {
    const pair = /^pairs[46] (\S+) \. (\S+)$/.exec(key)
    if (pair) kept.set(pair[1]!, [...(kept.get(pair[1]!) ?? []), pair[2]!])
  }
  const sources = new Map<string, Source>()
  for (const [key, gate] of elements) {
    const [, v, address] = /^gate([46]) (\S+)$/.exec(key) ?? []
    if (!address) continue
    const translated = elements.get(`addr${v} ${address}`) ?? null
    const block = blockOfChain(gate.replace('goto ', '')) ?? null
    const closed = gate === 'goto closed_family'
    if (!closed && (translated === null || (gate !== 'accept' && !block))) continue
    const source = closed ? null : translated
    const others = (kept.get(address) ?? []).filter((other) => other !== source)
    sources.set(address, { address: source, block, kept: others })
  }
  return sources
}

/**
 * What steers the slots of other hosts. Of two who claim a slot the later one gets it: the caller
 * lists pairs as they are, and blocks do not overlap there.
 */
export function ownerElements(owners: Iterable<SlotOwner>): Map<string, string> {
  const elements = new Map<string, string>()
  for (const { address, slot, count, hostIndex } of owners) {
    if (!parseIp(address)) throw new Error(`egress: ${address} is not an address`)
    for (let s = slot; s < slot + count; s++)
      elements.set(`owner${familyOf(address)} ${address} . ${s}`, String(steerMark(hostIndex)))
  }
  return elements
}

/** Blocks that elements speak of: their chains must be there before. */
export function blocksOf(elements: Iterable<readonly [string, string]>): Map<string, Block> {
  const blocks = new Map<string, Block>()
  for (const [, data] of elements) {
    const block = data.startsWith('goto ') ? blockOfChain(data.slice(5)) : undefined
    if (block) blocks.set(useChain(block), block)
  }
  return blocks
}

/**
 * Commands that bring the elements from `observed` to `desired`, in the order of one transaction;
 * empty when they are equal. Both may be parts of the table, with the same keys left out.
 */
export function planElements(desired: Elements, observed: Elements): string[] {
  const [remove, add] = [new Map<string, string[]>(), new Map<string, string[]>()]
  const note = (to: Map<string, string[]>, key: string, data?: string) => {
    const space = key.indexOf(' ')
    const set = key.slice(0, space)
    const text = key.slice(space + 1) + (data === undefined ? '' : ` : ${data}`)
    const list = to.get(set)
    if (list) list.push(text)
    else to.set(set, [text])
  }
  for (const [key, data] of observed) if (desired.get(key) !== data) note(remove, key)
  for (const [key, data] of desired) if (observed.get(key) !== data) note(add, key, data)
  const commands = (verb: string, sets: Map<string, string[]>) =>
    [...sets].map(([set, list]) => `${verb} element ${EGRESS_TABLE} ${set} { ${list.join(', ')} }`)
  return [...commands('delete', remove), ...commands('add', add)]
}

/** Commands that make the chains of blocks, or make them anew. */
export const chainCommands = (blocks: Iterable<Block>): string[] =>
  [...blocks].flatMap((block) =>
    [...blockRules(block)].flatMap(([chain, rules]) => [
      `add chain ${EGRESS_TABLE} ${chain}`,
      `flush chain ${EGRESS_TABLE} ${chain}`,
      ...rules.map((rule) => `add rule ${EGRESS_TABLE} ${chain} ${rule}`),
    ]),
  )

/**
 * Commands for a table that is as it was made but for elements and chains of blocks. `right` is what
 * nft printed of chains when they were; those that it does not know are made anew. `isDamaged` when
 * something else than leftovers is to be done.
 */
export function planRepair(
  desired: { readonly elements: Elements; readonly blocks: ReadonlyMap<string, Block> },
  observed: { readonly elements: Elements; readonly chains: ReadonlyMap<string, string> },
  right: ReadonlyMap<string, string>,
): { readonly commands: readonly string[]; readonly isDamaged: boolean } {
  const names = (block: Block) => [useChain(block), natChain(block)]
  const isRight = (name: string) => right.has(name) && right.get(name) === observed.chains.get(name)
  const wrong = [...desired.blocks.values()].filter((block) => !names(block).every(isRight))
  const wanted = new Set([...desired.blocks.values()].flatMap(names))
  const unused = [...observed.chains.keys()].filter((name) => !wanted.has(name))
  const elements = planElements(desired.elements, observed.elements)
  return {
    commands: [
      ...chainCommands(wrong),
      ...elements,
      ...unused.map((name) => `delete chain ${EGRESS_TABLE} ${name}`),
    ],
    isDamaged: elements.length > 0 || wrong.flatMap(names).some((name) => right.has(name)),
  }
}
