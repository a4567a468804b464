import { notFound } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import {
  EGRESS_SLOTS,
  type EgressBlock,
  type EgressPair,
  type OutboundProxy,
} from '../../model/resources.ts'
import { orgFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { findRun } from '../egress/blocks.ts'
import { type Read, readAll, readOne } from '../transact.ts'

/** Outbound proxies in the store, and how their pairs' slots are shared by the hosts. */

export const OUTBOUND_PER_ORG_MAX = 32

export const outboundNotFound = (org: string, id: string) =>
  notFound(`Org "${org}" has no outbound proxy "${id}"; see: fairway outbound list -o ${org}`)

/** An org's proxies, oldest first. */
export async function proxiesOf(control: Control, org: string): Promise<OutboundProxy[]> {
  const prefix = keys.orgOutbound(org, '')
  const entries = await readAll(control.store, prefix, OUTBOUND_PER_ORG_MAX)
  const ids = entries.map(({ key }) => key.slice(prefix.length))
  const found = await Promise.all(
    ids.map((id) => readOne<OutboundProxy>(control.store, keys.outbound(id))),
  )
  return found.filter((proxy) => proxy !== undefined)
}

/** The org's proxy by id or name, if the actor may act in the org. */
export async function outboundFor(
  control: Control,
  actor: Actor,
  org: string,
  idOrName: string,
): Promise<OutboundProxy> {
  const { slug } = await orgFor(control, actor, org)
  const proxies = await proxiesOf(control, slug)
  const proxy =
    proxies.find(({ id }) => id === idOrName) ?? proxies.find(({ name }) => name === idOrName)
  if (!proxy) throw outboundNotFound(slug, idOrName)
  return proxy
}

/** The same record within a transaction, which then holds only while it is unchanged. */
export async function outboundWithin(
  read: Read,
  { org, id }: OutboundProxy,
): Promise<OutboundProxy> {
  const proxy = await read.get<OutboundProxy>(keys.outbound(id))
  if (!proxy) throw outboundNotFound(org, id)
  return proxy
}

/**
 * How many slots each host gets of a pair: an even share that leaves room for half as many hosts
 * again, and for two at least.
 */
export const slotsPerHost = (hosts: number): number =>
  Math.max(1, Math.floor(EGRESS_SLOTS / (hosts + Math.max(2, Math.ceil(hosts / 2)))))

/**
 * A pair's blocks when these hosts are to send from it: those of others go, each that has none gets
 * its share, or what is left side by side. Hosts for which nothing is left are in `without`.
 */
export function shareSlots(
  blocks: readonly EgressBlock[],
  hosts: readonly string[],
  random: () => number,
): { blocks: EgressBlock[]; without: string[] } {
  const shared = blocks.filter(({ host }) => hosts.includes(host))
  const without: string[] = []
  for (const host of hosts) {
    if (shared.some((block) => block.host === host && block.state === 'use')) continue
    let run: ReturnType<typeof findRun>
    for (let count = slotsPerHost(hosts.length); count > 0 && !run; count--)
      run = findRun(shared, count, [], random)
    if (run) shared.push({ ...run, host, machine: null, state: 'use' })
    else without.push(host)
  }
  return { blocks: shared.sort((a, b) => a.slot - b.slot), without }
}

/** A proxy's pairs as they are; one that is missing was released by the operator's hand. */
export async function pairsOf(control: Control, proxy: OutboundProxy): Promise<EgressPair[]> {
  const found = await Promise.all(
    proxy.pairs.map((id) => readOne<EgressPair>(control.store, keys.egress(id))),
  )
  return found.filter((pair) => pair !== undefined)
}
