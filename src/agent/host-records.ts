import type { ZodType } from 'zod'
import { Host, Machine } from '../model/resources.ts'
import type { FeedState, StateChange } from './feed-state.ts'

/** What a change means to the parts of the host. */
export interface RecordsChanged {
  readonly machines: boolean
  readonly hosts: boolean
}

/**
 * The records that the agent itself acts upon: machines of its host, and all hosts. A record that did
 * not change stays the same object. One that cannot be read keeps its version before.
 */
export class HostRecords {
  readonly machines = new Map<string, Machine>()
  readonly hosts = new Map<string, Host>()
  /** Ids of machines whose record cannot be read and has no version before. */
  readonly unreadable = new Set<string>()
  readonly #state: FeedState
  readonly #machinePrefix: string
  readonly #onProblem: (key: string, message: string) => void
  readonly #texts = new Map<string, string>()

  constructor(state: FeedState, hostId: string, onProblem: (key: string, message: string) => void) {
    this.#state = state
    this.#machinePrefix = `machine/${hostId}/`
    this.#onProblem = onProblem
  }

  update(change: StateChange): RecordsChanged {
    const keys = change.reset
      ? new Set([...this.#texts.keys(), ...this.#state.keys()])
      : change.keys
    let [machines, hosts] = [change.reset, change.reset]
    for (const key of keys) {
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
    return { machines, hosts }
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
