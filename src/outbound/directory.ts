import type { OutboundProxy } from '../model/resources.ts'
import { DestinationPolicy, type PrefixSet } from './destination.ts'

/** One of a proxy's addresses as this host can use it. */
export interface Source {
  /** The pair's id, for the log. */
  readonly pair: string
  /** Private addresses to send from, which the kernel translates; null: not this family. */
  readonly v4: string | null
  readonly v6: string | null
  /** Local ports to use, the host's block of the pair. */
  readonly portMin: number
  readonly portMax: number
}

/** A proxy as a worker serves it. */
export interface ServedProxy {
  readonly proxy: OutboundProxy
  /** Empty: none of its addresses can be used now. Null: the host's own (plain set-ups, tests). */
  readonly sources: readonly Source[] | null
  /** Where each credential's use is counted, by name (see `Meter`). */
  readonly slots: Readonly<Record<string, number>>
}

/** Somebody with a credential; the object lives as long as connections that were opened with it. */
export interface OutboundUser {
  readonly name: string
  readonly hash: Buffer
  readonly slot: number
  expiresAtMs: number
  /** The credential was taken away: no new connection, also not on one that is open. */
  gone: boolean
  served: Served
}

/** What all credentials of a proxy share; replaced whole when the proxy changes. */
export interface Served {
  readonly proxy: string
  readonly org: string
  readonly policy: DestinationPolicy
  readonly limits: OutboundProxy['limits']
  readonly sources: readonly SourceState[] | null
  /** What sends from its addresses, or is about to; the same set for as long as the proxy is there. */
  readonly senders: Set<Sender>
}

export interface Sender {
  /** The proxy is gone: nothing more may be sent from what were its addresses. */
  breakOff(): void
}

export interface SourceState extends Source {
  /** Failed where another address worked: tried last until then (time of `Deadlines.now`). */
  suspectUntil: number
}

interface Known {
  readonly names: readonly string[]
  readonly sources: ReadonlyMap<string, SourceState>
  readonly senders: Set<Sender>
}

/** All outbound proxies by the user names of their credentials. */
export class Directory {
  readonly #users = new Map<string, OutboundUser>()
  readonly #byProxy = new Map<string, Known>()
  readonly #never: PrefixSet

  /** `never`: what no allow-list opens. */
  constructor(never: PrefixSet) {
    this.#never = never
  }

  user(name: string): OutboundUser | undefined {
    return this.#users.get(name)
  }

  get size(): number {
    return this.#byProxy.size
  }

  /** Puts a proxy in place of what it was. Connections keep what they have; new ones see this. */
  put({ proxy, sources, slots }: ServedProxy): void {
    const before = this.#byProxy.get(proxy.id)
    const known = new Map<string, SourceState>()
    for (const source of sources ?? []) {
      const suspectUntil = before?.sources.get(source.pair)?.suspectUntil ?? 0
      known.set(source.pair, { ...source, suspectUntil })
    }
    const served: Served = {
      proxy: proxy.id,
      org: proxy.org,
      policy: new DestinationPolicy(proxy.allow, this.#never),
      limits: proxy.limits,
      sources: sources && [...known.values()],
      senders: before?.senders ?? new Set(),
    }
    const names = proxy.credentials.map(({ name }) => name)
    for (const name of before?.names ?? []) if (!names.includes(name)) this.#drop(name)
    for (const { name, hash, expiresAt } of proxy.credentials)
      this.#putUser(name, Buffer.from(hash, 'hex'), {
        slot: slots[name] ?? 0,
        expiresAtMs: expiresAt === null ? Infinity : Date.parse(expiresAt),
        served,
      })
    this.#byProxy.set(proxy.id, { names, sources: known, senders: served.senders })
  }

  /** The proxy was destroyed. Its connections end now: its addresses will be another's. */
  delete(id: string): void {
    const known = this.#byProxy.get(id)
    if (!known) return
    for (const name of known.names) this.#drop(name)
    this.#byProxy.delete(id)
    for (const sender of known.senders) sender.breakOff()
  }

  #putUser(
    name: string,
    hash: Buffer,
    rest: Pick<OutboundUser, 'slot' | 'expiresAtMs' | 'served'>,
  ): void {
    const user = this.#users.get(name)
    if (user?.slot === rest.slot && user.hash.equals(hash)) Object.assign(user, rest)
    else {
      this.#drop(name)
      this.#users.set(name, { name, hash, gone: false, ...rest })
    }
  }

  #drop(name: string): void {
    const user = this.#users.get(name)
    if (user) user.gone = true
    this.#users.delete(name)
  }
}
