import type { Endpoint } from '../../model/resources.ts'
import { ROUTING_NAMES_MAX } from '../limits.ts'
import type { RegionOrder } from './region-order.ts'

/** Ranks are below this. */
export const RANKS_MAX = 8 * (ROUTING_NAMES_MAX + 1)

/**
 * Which machines one request may go to, and which it should rather go to than others. Most requests
 * have none, and go wherever is best.
 */
export class Steering {
  /** The only machine that may have it, also when its checks fail (R30); '' for any. */
  readonly forcedMachine: string
  /** The machine to have it if that is possible (R29); ''. */
  readonly preferredMachine: string
  /** The one that the client was with before, if that is possible; ''. */
  stickyMachine = ''
  /** The release that it was drawn for, if that is possible; 0 for any. */
  release = 0
  readonly #regions: RegionOrder | null
  readonly #onlyRegions: boolean

  constructor(wanted: {
    readonly forcedMachine?: string
    readonly preferredMachine?: string
    /** R27, or with `onlyRegions` R28. */
    readonly regions?: RegionOrder | null
    readonly onlyRegions?: boolean
  }) {
    this.forcedMachine = wanted.forcedMachine ?? ''
    this.preferredMachine = wanted.preferredMachine ?? ''
    this.#regions = wanted.regions ?? null
    this.#onlyRegions = wanted.onlyRegions ?? false
  }

  /** The client itself has said that this is where it goes: in this request, or by its cookie. */
  isClients({ machine }: Endpoint): boolean {
    const isAsked =
      this.forcedMachine !== '' || this.preferredMachine !== '' || this.#regions !== null
    return isAsked || machine === this.stickyMachine
  }

  /**
   * What it is restricted to, in words; '' when any machine may have it. Also names the line that it
   * waits in: who can go anywhere must not wait behind one who can not.
   */
  get lane(): string {
    if (this.forcedMachine !== '') return `machine ${this.forcedMachine}`
    return this.#onlyRegions ? `region ${this.#regions!.names.join(', ')}` : ''
  }

  /** How far it is from what is wanted; 0 is nothing better, Infinity may not have it. */
  rank({ machine, region, release }: Endpoint): number {
    if (this.forcedMachine !== '' && machine !== this.forcedMachine) return Infinity
    const regions = this.#regions
    const place = regions === null ? 0 : regions.rank(region)
    if (this.#onlyRegions && place === regions!.names.length) return Infinity
    // What a client says in this request counts before what it was given earlier.
    const isOther = this.preferredMachine !== '' && machine !== this.preferredMachine
    const asked = isOther ? ROUTING_NAMES_MAX + 1 + place : place
    const isNew = this.stickyMachine !== '' && machine !== this.stickyMachine
    const isOtherRelease = this.release !== 0 && release !== this.release
    return 4 * asked + (isNew ? 2 : 0) + (isOtherRelease ? 1 : 0)
  }
}
