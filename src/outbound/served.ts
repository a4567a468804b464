import { EgressPair, OutboundProxy } from '../model/resources.ts'
import type { FeedLine } from '../model/wire.ts'
import type { ServedProxy } from './directory.ts'
import { METER_SLOTS } from './meter.ts'
import { placeOn, sourceOf } from './placement.ts'

export type ServedChange = ServedProxy | { readonly gone: string }

/**
 * The feed as what a host's workers serve. A line costs what it changes. A record that cannot be read
 * keeps its version before.
 */
export class ServedProxies {
  readonly #host: string
  readonly #onChange: (change: ServedChange) => void
  readonly #onProblem: (key: string, problem: string) => void
  readonly #proxies = new Map<string, OutboundProxy>()
  readonly #pairs = new Map<string, EgressPair>()
  /** Which proxy a pair belongs to. */
  readonly #owners = new Map<string, string>()
  readonly #slots: CredentialSlots
  /** Keys that a snapshot has named so far; null outside of one. */
  #seen: Set<string> | null = null

  /** `open`: the connections that are counted at a slot now (`Meter`). */
  constructor(
    host: string,
    open: (slot: number) => number,
    onChange: (change: ServedChange) => void,
    onProblem: (key: string, problem: string) => void,
  ) {
    this.#host = host
    this.#slots = new CredentialSlots(open)
    this.#onChange = onChange
    this.#onProblem = onProblem
  }

  /** Every proxy as it is now, for a worker that begins. */
  all(): ServedProxy[] {
    return [...this.#proxies.values()].map((proxy) => this.#served(proxy))
  }

  apply(line: FeedLine): void {
    const changed = new Set<string>()
    if (line.t === 'snapshot') this.#seen = new Set()
    else if (line.t === 'events')
      for (const event of line.events) {
        const [kind, key] = event
        this.#seen?.add(key)
        this.#take(key, kind === 'put' ? event[2] : undefined, changed)
      }
    else if (line.t === 'synced' && this.#seen) {
      const known = [
        ...[...this.#proxies.keys()].map((id) => `outbound/${id}`),
        ...[...this.#pairs.keys()].map((id) => `egress/${id}`),
      ]
      for (const key of known) if (!this.#seen.has(key)) this.#take(key, undefined, changed)
      this.#seen = null
    }
    for (const id of changed) this.#tell(id)
  }

  #take(key: string, value: unknown, changed: Set<string>): void {
    const slash = key.indexOf('/')
    const [kind, id] = [key.slice(0, slash), key.slice(slash + 1)]
    if (kind === 'outbound') this.#takeProxy(key, id, value, changed)
    else if (kind === 'egress') this.#takePair(key, id, value, changed)
  }

  #takeProxy(key: string, id: string, value: unknown, changed: Set<string>): void {
    const parsed = value === undefined ? undefined : OutboundProxy.safeParse(value)
    if (parsed && !parsed.success) {
      this.#onProblem(key, parsed.error.issues[0]?.message ?? '')
      return
    }
    for (const pair of this.#proxies.get(id)?.pairs ?? []) this.#owners.delete(pair)
    if (parsed) {
      this.#proxies.set(id, parsed.data)
      for (const pair of parsed.data.pairs) this.#owners.set(pair, id)
    } else this.#proxies.delete(id)
    changed.add(id)
  }

  #takePair(key: string, id: string, value: unknown, changed: Set<string>): void {
    // Machines' pairs, of which there are many more.
    if (value !== undefined && (value as EgressPair).outbound === null) return
    const parsed = value === undefined ? undefined : EgressPair.safeParse(value)
    if (parsed && !parsed.success) {
      this.#onProblem(key, parsed.error.issues[0]?.message ?? '')
      return
    }
    const owner = this.#owners.get(id) ?? parsed?.data.outbound
    if (parsed) this.#pairs.set(id, parsed.data)
    else this.#pairs.delete(id)
    if (owner) changed.add(owner)
  }

  #tell(id: string): void {
    const proxy = this.#proxies.get(id)
    if (proxy) this.#onChange(this.#served(proxy))
    else {
      this.#slots.release(id)
      this.#onChange({ gone: id })
    }
  }

  #served(proxy: OutboundProxy): ServedProxy {
    const placed = placeOn(this.#host, proxy, (id) => this.#pairs.get(id))
    return { proxy, sources: placed.map(sourceOf), slots: this.#slots.of(proxy) }
  }
}

/**
 * Gives each credential a place to be counted at. Those that went give theirs back, and another has it
 * once none of their connections is open any more; until then it would count for somebody else.
 */
class CredentialSlots {
  readonly #open: (slot: number) => number
  readonly #byProxy = new Map<string, Record<string, number>>()
  /** Given back, the longest ago first. */
  readonly #former: number[] = []
  #next = 1

  constructor(open: (slot: number) => number) {
    this.#open = open
  }

  of({ id, credentials }: OutboundProxy): Record<string, number> {
    const before = this.#byProxy.get(id) ?? {}
    const slots: Record<string, number> = {}
    for (const { name } of credentials) slots[name] = before[name] ?? this.#take()
    for (const [name, slot] of Object.entries(before)) if (!(name in slots)) this.#give(slot)
    this.#byProxy.set(id, slots)
    return slots
  }

  release(id: string): void {
    for (const slot of Object.values(this.#byProxy.get(id) ?? {})) this.#give(slot)
    this.#byProxy.delete(id)
  }

  /** New ones first, so that workers have long heard of whose a former one was. Without any: slot 0. */
  #take(): number {
    if (this.#next < METER_SLOTS) return this.#next++
    const at = this.#former.findIndex((slot) => this.#open(slot) === 0)
    return at < 0 ? 0 : this.#former.splice(at, 1)[0]!
  }

  #give(slot: number): void {
    if (slot > 0) this.#former.push(slot)
  }
}
