import { type ZodType, z } from 'zod'
import { EgressPair, Host, Machine, OutboundProxy } from '../model/resources.ts'
import type { FeedState, StateChange } from './feed-state.ts'

/** What a change means to the parts of the host. */
export interface RecordsChanged {
  readonly machines: boolean
  readonly hosts: boolean
  /** Addresses that this region announces. */
  readonly regional: boolean
  /** Pairs of egress addresses, and outbound proxies. */
  readonly egress: boolean
}

/** Of an Address, what makes it this region's to announce. */
const RegionalAddress = z.object({
  address: z.string(),
  kind: z.enum(['v4', 'v6']),
  state: z.literal('attached'),
  region: z.string(),
})

/**
 * The records that the agent itself acts upon: machines of its host, all hosts, all egress pairs
 * and outbound proxies. A
 * record that did not change stays the same object. One that cannot be read keeps its version before.
 */
export class HostRecords {
  readonly machines = new Map<string, Machine>()
  readonly hosts = new Map<string, Host>()
  readonly pairs = new Map<string, EgressPair>()
  readonly outbound = new Map<string, OutboundProxy>()
  /** Ids of machines whose record cannot be read and has no version before. */
  readonly unreadable = new Set<string>()
  /** Attached public addresses that belong to the host's region alone (I11). */
  readonly regional = new Set<string>()
  readonly #state: FeedState
  readonly #region: string
  readonly #machinePrefix: string
  readonly #onProblem: (key: string, message: string) => void
  readonly #texts = new Map<string, string>()

  constructor(
    state: FeedState,
    host: { readonly id: string; readonly region: string },
    onProblem: (key: string, message: string) => void,
  ) {
    this.#state = state
    this.#region = host.region
    this.#machinePrefix = `machine/${host.id}/`
    this.#onProblem = onProblem
  }

  update(change: StateChange): RecordsChanged {
    const keys = change.reset
      ? new Set([...this.#texts.keys(), ...this.#regionalKeys(), ...this.#state.keys()])
      : change.keys
    const changed = {
      ...{ machines: change.reset, hosts: change.reset },
      ...{ regional: change.reset, egress: change.reset },
    }
    for (const key of keys) {
      if (key.startsWith('address/')) {
        changed.regional = this.#readAddress(key) || changed.regional
        continue
      }
      const kind = this.#kindOf(key)
      if (!kind) continue
      const text = this.#state.text(key)
      if (text === this.#texts.get(key)) continue
      changed[kind] = true
      if (kind === 'machines') this.#read(key, text, Machine, this.machines)
      else if (kind === 'hosts') this.#read(key, text, Host, this.hosts)
      else if (key.startsWith('egress/')) this.#read(key, text, EgressPair, this.pairs)
      else this.#read(key, text, OutboundProxy, this.outbound)
    }
    return changed
  }

  #kindOf(key: string): 'machines' | 'hosts' | 'egress' | undefined {
    if (key.startsWith(this.#machinePrefix)) return 'machines'
    if (key.startsWith('host/')) return 'hosts'
    return /^(egress|outbound)\//.test(key) ? 'egress' : undefined
  }

  /** Of what is announced no text is kept: a snapshot may be without it. */
  #regionalKeys = (): string[] => [...this.regional].map((address) => `address/${address}`)

  /** Whether the set of regional addresses changed. */
  #readAddress(key: string): boolean {
    const { data } = RegionalAddress.safeParse(this.#state.get(key))
    const address = key.slice('address/'.length)
    const isOurs = data !== undefined && data.region === this.#region && data.address === address
    if (isOurs === this.regional.has(address)) return false
    if (isOurs) this.regional.add(address)
    else this.regional.delete(address)
    return true
  }

  #read<T extends { id: string }>(
    key: string,
    text: string | undefined,
    schema: ZodType<T>,
    records: Map<string, T>,
  ): void {
    const id = key.slice(key.lastIndexOf('/') + 1)
    if (text === undefined) {
      this.#texts.delete(key)
      this.unreadable.delete(id)
      records.delete(id)
      return
    }
    this.#texts.set(key, text)
    const parsed = schema.safeParse(this.#state.get(key))
    if (parsed.success && parsed.data.id === id) {
      records.set(id, parsed.data)
      this.unreadable.delete(id)
      return
    }
    const issue = parsed.error?.issues[0]
    const where = issue ? `${issue.path.map(String).join('.')}: ${issue.message}` : 'another id'
    this.#onProblem(key, where)
    if (!records.has(id) && key.startsWith(this.#machinePrefix)) this.unreadable.add(id)
  }
}
