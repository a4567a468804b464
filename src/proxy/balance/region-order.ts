import type { Region } from '../../model/resources.ts'
import type { EdgeView } from '../../view/edge-view.ts'
import { ROUTING_NAMES_MAX } from '../limits.ts'

/** What stands for several regions (R1), and which ones. */
const ALIASES: Readonly<Record<string, (region: Region) => boolean>> = {
  any: () => true,
  apac: ({ geoRegion }) => geoRegion === 'asia_pacific',
  eu: ({ geoRegion }) => geoRegion === 'europe',
  na: ({ geoRegion }) => geoRegion === 'north_america',
  sa: ({ geoRegion }) => geoRegion === 'south_america',
  us: isUnitedStates,
  usa: isUnitedStates,
}

/** A region's record has no country; the names of those in the United States end with it. */
function isUnitedStates({ geoRegion, name }: Region): boolean {
  return geoRegion === 'north_america' && name.endsWith('(US)')
}

/** Regions in the order in which somebody would have them (R27, R28). */
export class RegionOrder {
  /** Codes and aliases, each known. */
  readonly names: readonly string[]
  readonly #view: EdgeView
  readonly #ranks = new Map<string, number>()

  private constructor(names: readonly string[], view: EdgeView) {
    this.names = names
    this.#view = view
  }

  /** Reads a comma-separated list; what no region is called is left out, and null when that is all. */
  static parse(list: string, view: EdgeView): RegionOrder | null {
    const names: string[] = []
    for (const part of list.split(',', ROUTING_NAMES_MAX)) {
      const name = part.trim().toLowerCase()
      if (Object.hasOwn(ALIASES, name) || view.region(name)) names.push(name)
    }
    return names.length > 0 ? new RegionOrder(names, view) : null
  }

  /** Place of the region in the order, from 0; `names.length` when it is not in it. */
  rank(code: string): number {
    let rank = this.#ranks.get(code)
    if (rank === undefined) {
      const region = this.#view.region(code)
      const at = this.names.findIndex(
        (name) => name === code || (region !== undefined && ALIASES[name]?.(region)),
      )
      rank = at < 0 ? this.names.length : at
      this.#ranks.set(code, rank)
    }
    return rank
  }
}
