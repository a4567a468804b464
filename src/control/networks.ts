import { FairwayError, notFound } from '../base/errors.ts'
import { keys } from '../model/keys.ts'
import type { Network } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { mayAct, orgNotFound } from './access.ts'
import type { Actor, Control } from './context.ts'
import { checkNetworkName } from './names.ts'
import { put, type Read, readAll } from './transact.ts'

/** N5: a name keeps its id for ever, with or without apps; ids are never given out again. */

export const DEFAULT_NETWORK = 'default'
const NETWORK_ID_MAX = 0xffff_ffff
const NETWORKS_LISTED_MAX = 10_000
/** Changes that may make a network run in this lane, since all of them count the same counter up. */
export const NETWORK_LANE = 'networks'

/** The network of that (checked) name, and what to write when it is new. Within a transaction. */
export async function ensureNetwork(
  read: Read,
  org: string,
  name: string,
): Promise<{ network: Network; ops: Op[] }> {
  const known = await read.get<Network>(keys.network(org, name))
  if (known) return { network: known, ops: [] }
  const counter = keys.counter('network')
  // Id 0 belongs to the mesh between hosts.
  const id = ((await read.get<number>(counter)) ?? 0) + 1
  if (id > NETWORK_ID_MAX) {
    throw new FairwayError('networks_exhausted', 'every network id (32 bits) has been given out')
  }
  const network: Network = { id, org, name }
  const ops = [
    put(counter, id),
    put(keys.network(org, name), network),
    put(keys.networkId(id), network),
  ]
  return { network, ops }
}

/** A network that must exist. Within a transaction. */
export async function networkWithin(read: Read, org: string, name: string): Promise<Network> {
  const network = await read.get<Network>(keys.network(org, checkNetworkName(name)))
  if (network) return network
  throw notFound(`network "${name}" does not exist in org "${org}"; an app made in it creates it`)
}

export async function listNetworks(
  control: Control,
  actor: Actor,
  org: string,
): Promise<Network[]> {
  if (!mayAct(actor, org)) throw orgNotFound(org)
  const entries = await readAll<Network>(control.store, `network/${org}/`, NETWORKS_LISTED_MAX)
  return entries.map((entry) => entry.value)
}
