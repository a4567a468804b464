import type { DrainingBlock, SlotOwner } from '../egress/egress-table.ts'
import type { EgressPair, Host } from '../model/resources.ts'

/** What an egress pair means to one host. */
export interface PairOnHost {
  /** Slots that other hosts translate: their answers are steered there. */
  readonly owners: readonly SlotOwner[]
  /** Slots of this host that are to be given back. */
  readonly draining: readonly DrainingBlock[]
  /** Addresses that the host announces one by one, because no prefix of its own covers them. */
  readonly announced: readonly string[]
}

/**
 * A pair of one region is announced with the region's prefix, so that only the hosts there see its
 * answers. One of several regions is announced as host routes by all of theirs: each route is nearer
 * than the prefix of the home region. One of all regions (`global`) lies in a prefix that all announce.
 */
export function pairOnHost(
  pair: EgressPair,
  host: Pick<Host, 'id' | 'region'>,
  hosts: ReadonlyMap<string, Host>,
): PairOnHost {
  const { v4, v6, regions, blocks } = pair
  // Also where the pair is used no more: its last flows may still be there.
  const draining = blocks
    .filter((block) => block.host === host.id && block.state === 'drain')
    .map(({ slot, count }) => ({ pair: pair.id, v4, v6, slot, count }))
  if (!regions.includes(host.region) && !regions.includes('global'))
    return { owners: [], draining, announced: [] }
  const addresses = [v4 ?? [], v6 ?? []].flat()
  const others = blocks.filter((block) => block.host !== host.id)
  const owners = others.flatMap(({ slot, count, host: owner }) => {
    const hostIndex = hosts.get(owner)?.index
    if (hostIndex === undefined) return [] // Its host has left the fleet: nobody could answer.
    return addresses.map((address) => ({ address, slot, count, hostIndex }))
  })
  const isShared = regions.length > 1 && !regions.includes('global')
  return { owners, draining, announced: isShared ? addresses : [] }
}

/** The same for all pairs; what did not change since the last call is not worked out again. */
export class PairsOnHost {
  readonly #host: Pick<Host, 'id' | 'region'>
  #hosts: ReadonlyMap<string, Host> = new Map()
  #known = new WeakMap<EgressPair, PairOnHost>()

  constructor(host: Pick<Host, 'id' | 'region'>) {
    this.#host = host
  }

  /** Another map of hosts voids what is known; the same one must not have changed. */
  of(pairs: Iterable<EgressPair>, hosts: ReadonlyMap<string, Host>): PairOnHost {
    if (hosts !== this.#hosts) {
      this.#hosts = hosts
      this.#known = new WeakMap()
    }
    const all = [...pairs].map((pair) => {
      const known = this.#known.get(pair) ?? pairOnHost(pair, this.#host, hosts)
      this.#known.set(pair, known)
      return known
    })
    return {
      owners: all.flatMap(({ owners }) => owners),
      draining: all.flatMap(({ draining }) => draining),
      announced: all.flatMap(({ announced }) => announced),
    }
  }
}
