import { FairwayError } from '../base/errors.ts'
import { Host, Region } from '../model/resources.ts'
import type { KeyValue, WatchBatch } from '../store/store.ts'
import type { FollowSink } from './follow.ts'

/** What the fleet follows in the store. */
export const FLEET_PREFIXES = ['region/', 'host/', 'host-live/', 'slot/'] as const

/** Two private IPv4 addresses per machine in a host's /20, its first and last pair left out. */
export const SLOTS_PER_HOST = 2_046

/** A slot that nobody else in this process will choose until it is settled. */
export interface SlotClaim {
  readonly host: Host
  readonly slot: number
  /** `taken`: the slot is used now, by this claim or by another writer. `free`: it is not. */
  settle(outcome: 'taken' | 'free'): void
}

/**
 * Regions, hosts and their slots, kept in memory from the store so that placing a machine costs no
 * reads. It may be a moment behind: the store's compare-and-set on the slot key decides.
 */
export class Fleet implements FollowSink {
  readonly #regions = new Map<string, Region>()
  readonly #hosts = new Map<string, Host>()
  readonly #live = new Set<string>()
  readonly #slots = new Map<string, HostSlots>()
  readonly #random: () => number
  #ready = Promise.withResolvers<void>()

  constructor(random: () => number) {
    this.#random = random
  }

  /** Resolves once the first state has been read. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  regions(): Region[] {
    return [...this.#regions.values()]
  }

  hosts(): Host[] {
    return [...this.#hosts.values()]
  }

  host(id: string): Host | undefined {
    return this.#hosts.get(id)
  }

  isLive(host: string): boolean {
    return this.#live.has(host) && this.#hosts.has(host)
  }

  liveHosts(): string[] {
    return [...this.#hosts.keys()].filter((id) => this.#live.has(id))
  }

  /** The live hosts with their regions. */
  liveRecords(): Host[] {
    return this.liveHosts().map((id) => this.#hosts.get(id)!)
  }

  /** Codes of the regions in which a machine can be placed now. */
  liveRegions(): string[] {
    const codes = new Set(this.liveHosts().map((id) => this.#hosts.get(id)!.region))
    return [...codes].sort()
  }

  /** How many machines a host has, of any state. */
  machinesOn(host: string): number {
    return this.#slots.get(host)?.size ?? 0
  }

  /** How many machines an app has, of any state. */
  machineCount(app: string): number {
    let count = 0
    for (const slots of this.#slots.values()) count += slots.countOf(app)
    return count
  }

  /**
   * A slot on the live host of `region` with the fewest machines of `app`, then the fewest machines,
   * ties at random, so that the machines of an app spread over a region's hosts. With `on`, a slot on
   * that host and no other.
   */
  claim(region: string, app: string, on?: string): SlotClaim {
    const live = this.#candidates(region)
    const hosts = on === undefined ? live : live.filter((host) => host.id === on)
    if (hosts.length === 0) throw noRoomOn(on!, 'does not report; try again when it is back')
    const candidates = hosts.map((host) => {
      const slots = this.#slotsOf(host.id)
      return { host, slots, mine: slots.countOf(app), all: slots.size, tie: this.#random() }
    })
    candidates.sort((a, b) => a.mine - b.mine || a.all - b.all || a.tie - b.tie)
    for (const { host, slots } of candidates) {
      const slot = slots.claim(app, this.#random)
      if (slot === undefined) continue
      return { host, slot, settle: (outcome) => slots.settle(slot, app, outcome) }
    }
    if (on !== undefined)
      throw noRoomOn(on, `already has ${SLOTS_PER_HOST} machines; destroy some there`)
    throw noCapacity(`region: every host of "${region}" already has ${SLOTS_PER_HOST} machines`, [
      ...this.liveRegions().filter((code) => code !== region),
    ])
  }

  reset(kvs: readonly KeyValue[]): void {
    this.#regions.clear()
    this.#hosts.clear()
    this.#live.clear()
    for (const slots of this.#slots.values()) slots.forgetUsed()
    for (const kv of kvs) this.#put(kv.key, kv.value)
    this.#ready.resolve()
  }

  apply(batch: WatchBatch): void {
    for (const event of batch.events) {
      if (event.type === 'put') this.#put(event.kv.key, event.kv.value)
      else this.#delete(event.key)
    }
  }

  #candidates(region: string): Host[] {
    if (!this.#regions.has(region)) {
      const known = this.liveRegions().join(', ') || 'none'
      throw new FairwayError(
        'region_not_found',
        `region: "${region}" is not a region of this fleet; regions with a live host: ${known}`,
      )
    }
    const hosts = this.liveHosts().map((id) => this.#hosts.get(id)!)
    const inRegion = hosts.filter((host) => host.region === region)
    if (inRegion.length === 0)
      throw noCapacity(`region: "${region}" has no live host`, this.liveRegions())
    return inRegion
  }

  #slotsOf(host: string): HostSlots {
    const known = this.#slots.get(host)
    if (known) return known
    const slots = new HostSlots()
    this.#slots.set(host, slots)
    return slots
  }

  #put(key: string, value: string): void {
    const [kind, id = '', slot] = key.split('/')
    if (kind === 'region') remember(this.#regions, id, Region.safeParse(JSON.parse(value)))
    else if (kind === 'host') remember(this.#hosts, id, Host.safeParse(JSON.parse(value)))
    else if (kind === 'host-live') this.#live.add(id)
    else if (kind === 'slot') this.#slotsOf(id).put(Number(slot), slotApp(value))
  }

  #delete(key: string): void {
    const [kind, id = '', slot] = key.split('/')
    if (kind === 'region') this.#regions.delete(id)
    else if (kind === 'host') this.#hosts.delete(id)
    else if (kind === 'host-live') this.#live.delete(id)
    else if (kind === 'slot') this.#slotsOf(id).delete(Number(slot))
  }
}

/** One host's slots: `used` is the store's state, `pending` what this process is about to write. */
class HostSlots {
  readonly #used = new Map<number, string>()
  readonly #pending = new Map<number, string>()
  readonly #counts = new Map<string, number>()

  get size(): number {
    return this.#used.size + this.#pending.size
  }

  countOf(app: string): number {
    return this.#counts.get(app) ?? 0
  }

  /** A free slot from a random start, so that an address freed just now is rarely the next one. */
  claim(app: string, random: () => number): number | undefined {
    if (this.size >= SLOTS_PER_HOST) return undefined
    let slot = 1 + Math.floor(random() * SLOTS_PER_HOST)
    while (this.#used.has(slot) || this.#pending.has(slot)) slot = (slot % SLOTS_PER_HOST) + 1
    this.#pending.set(slot, app)
    this.#count(app, 1)
    return slot
  }

  settle(slot: number, app: string, outcome: 'taken' | 'free'): void {
    if (!this.#pending.delete(slot)) return
    this.#count(app, -1)
    if (outcome === 'taken') this.put(slot, app)
  }

  put(slot: number, app: string): void {
    const pending = this.#pending.get(slot)
    if (pending !== undefined) this.settle(slot, pending, 'free')
    this.delete(slot)
    this.#used.set(slot, app)
    this.#count(app, 1)
  }

  delete(slot: number): void {
    const app = this.#used.get(slot)
    if (app === undefined) return
    this.#used.delete(slot)
    this.#count(app, -1)
  }

  forgetUsed(): void {
    for (const slot of [...this.#used.keys()]) this.delete(slot)
  }

  #count(app: string, by: number): void {
    const count = this.countOf(app) + by
    if (count > 0) this.#counts.set(app, count)
    else this.#counts.delete(app)
  }
}

/** A resource that does not fit its schema counts as absent. */
function remember<T>(
  map: Map<string, T>,
  id: string,
  parsed: { success: true; data: T } | { success: false },
): void {
  if (parsed.success) map.set(id, parsed.data)
  else map.delete(id)
}

/** flyctl looks for the first words. */
const noCapacity = (why: string, others: readonly string[]): FairwayError =>
  new FairwayError(
    'insufficient_capacity',
    `could not reserve resource for machine: ${why}; regions with a live host: ${
      others.join(', ') || 'none, start a host first'
    }`,
  )

const noRoomOn = (host: string, why: string): FairwayError =>
  new FairwayError(
    'insufficient_capacity',
    `could not reserve resource for machine: host ${host}, where it has to be, ${why}`,
  )

function slotApp(value: string): string {
  const parsed: unknown = JSON.parse(value)
  const app = typeof parsed === 'object' && parsed !== null && 'app' in parsed ? parsed.app : ''
  return typeof app === 'string' ? app : ''
}
