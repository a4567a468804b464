import { Endpoint } from '../model/resources.ts'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import type { LoadCells, LoadLimits } from '../proxy/balance/loads.ts'

/** A machine of this host: the slot that each of its services is counted in, and their limits. */
export interface CountedMachine {
  readonly machine: string
  readonly app: string
  readonly slots: readonly number[]
  readonly limits: readonly LoadLimits[]
}

/** What a line of the feed changes; `assign` goes to workers before the line, `forget` after it. */
export interface SlotChanges {
  readonly assign: readonly CountedMachine[]
  readonly forget: readonly CountedMachine[]
}

const PREFIX = 'endpoint/'

/**
 * Gives the services of this host's machines their slots. Workers count in a slot while they know its
 * machine, and until what they have in flight on it has ended; a slot is given out again after that.
 */
export class LoadSlots {
  readonly #host: string
  readonly #cells: LoadCells
  readonly #machines = new Map<string, CountedMachine>()
  /** Machines of a snapshot that is not complete. */
  #staged: Set<string> | null = null
  /** Slots that no worker claims any more; some may still be counted in. */
  #free: number[] = []
  #next = 0

  constructor(host: string, cells: LoadCells) {
    this.#host = host
    this.#cells = cells
  }

  machines(): Iterable<CountedMachine> {
    return this.#machines.values()
  }

  take(line: FeedLine): SlotChanges {
    const assign: CountedMachine[] = []
    let gone: string[] = []
    if (line.t === 'snapshot') this.#staged = new Set()
    else if (line.t === 'events') {
      for (const event of line.events) {
        if (event[1].startsWith(PREFIX)) this.#event(event, assign, gone)
      }
    } else if (line.t === 'synced' && this.#staged) {
      const staged = this.#staged
      this.#staged = null
      gone = [...this.#machines.keys()].filter((machine) => !staged.has(machine))
    }
    const forget = gone.flatMap((machine) => this.#machines.get(machine) ?? [])
    for (const { machine } of forget) this.#machines.delete(machine)
    return { assign, forget }
  }

  /** No worker claims these slots any more. */
  freed(slots: readonly number[]): void {
    this.#free.push(...slots.filter((slot) => slot >= 0))
  }

  #event(event: FeedEvent, assign: CountedMachine[], gone: string[]): void {
    const machine = event[1].slice(event[1].lastIndexOf('/') + 1)
    // Only machines of this host are worth parsing.
    const mine = event[0] === 'put' && (event[2] as { host?: unknown })?.host === this.#host
    const endpoint = mine ? Endpoint.safeParse(event[2]) : undefined
    // One that cannot be read stays as it was, as in every view.
    if (endpoint && !endpoint.success) return
    if (!endpoint) {
      // While a snapshot comes, what it lacks is still routed to.
      if (!this.#staged && this.#machines.has(machine)) gone.push(machine)
      return
    }
    this.#staged?.add(machine)
    const before = this.#machines.get(machine)
    const slots = [...(before?.slots ?? [])]
    while (slots.length < endpoint.data.services.length) slots.push(this.#allocate())
    const limits = endpoint.data.services.map(({ concurrency: { soft, hard } }) => ({ soft, hard }))
    const counted = { machine, app: endpoint.data.app, slots, limits }
    this.#machines.set(machine, counted)
    if (slots.length !== before?.slots.length) assign.push(counted)
  }

  /** -1 when there is none. */
  #allocate(): number {
    const at = this.#free.findIndex((slot) => this.#cells.count(slot) === 0)
    if (at >= 0) return this.#free.splice(at, 1)[0]!
    return this.#next < this.#cells.slots ? this.#next++ : -1
  }
}
