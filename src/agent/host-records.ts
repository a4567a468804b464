import { type ZodType, z } from 'zod'
import { Host, Machine } from '../model/resources.ts'
import type { FeedState, StateChange } from './feed-state.ts'

/** What a change means to the parts of the host. */
export interface RecordsChanged {
  readonly machines: boolean
  readonly hosts: boolean
  /** Addresses that this region announces. */
  readonly regional: boolean
}

/** Of an Address, what makes it this region's to announce. */
const RegionalAddress = z.object({
  address: z.string(),
  kind: z.enum(['v4', 'v6']),
  state: z.literal('attached'),
  region: z.string(),
})

/**
 * The records that the agent itself acts upon: machines of its host, and all hosts. A record that did
 * not change stays the same object. One that cannot be read keeps its version before.
 */
export class HostRecords {
  readonly machines = new Map<string, Machine>()
  readonly hosts = new Map<string, Host>()
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
      ? new Set([...this.#texts.keys(), ...this.#state.keys()])
      : change.keys
    let [machines, hosts, regional] = [change.reset, change.reset, change.reset]
    for (const key of keys) {
      if (key.startsWith('address/')) {
        regional = this.#readAddress(key) || regional
        continue
      }
      const isMachine = key.startsWith(this.#machinePrefix)
      if (!isMachine && !key.startsWith('host/')) continue
      const text = this.#state.text(key)
      if (text === this.#texts.get(key)) continue
      if (isMachine) {
        this.#read(key, text, Machine, this.machines)
        machines = true
      } else {
        this.#read(key, text, Host, this.hosts)
        hosts = true
      }
    }
    return { machines, hosts, regional }
  }

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
