/**
 * How many requests (or connections) are in flight on each service of this host's machines: exact over
 * all workers of one edge process, because they count in the same memory.
 *
 * Two edges of a host, while one replaces the other, count apart: until the older one has drained, a
 * machine may have up to its hard limit from each. What the older one holds only gets less.
 */

/** What a host can have: 2,046 machines of 32 services. */
export const LOAD_SLOTS_MAX = 65_536
export const LOAD_WORKERS_MAX = 64

const CHANGED = 0
const WAITING = 1
const SLOTS = WAITING + LOAD_WORKERS_MAX

export const newLoadMemory = (slots = LOAD_SLOTS_MAX): SharedArrayBuffer =>
  new SharedArrayBuffer((SLOTS + slots) * Int32Array.BYTES_PER_ELEMENT)

/** Bucket of load (L2): below the soft limit, from there to the hard one, at the hard limit. */
export type LoadBucket = 0 | 1 | 2

export interface LoadLimits {
  readonly soft: number
  readonly hard: number | null
}

/** "At" a limit is over it (X4). */
export const bucketOf = (inflight: number, { soft, hard }: LoadLimits): LoadBucket =>
  hard !== null && inflight >= hard ? 2 : inflight >= soft ? 1 : 0

/** The counts as one thread sees them. A slot is the number of a count. */
export class LoadCells {
  readonly #cells: Int32Array<SharedArrayBuffer>

  constructor(memory: SharedArrayBuffer) {
    this.#cells = new Int32Array(memory)
  }

  get slots(): number {
    return this.#cells.length - SLOTS
  }

  count(slot: number): number {
    return Atomics.load(this.#cells, SLOTS + slot)
  }

  /** Counts one more unless that would be above `hard`; gives the new count, or -1. */
  claim(slot: number, hard: number | null): number {
    const at = SLOTS + slot
    if (hard === null) return Atomics.add(this.#cells, at, 1) + 1
    for (;;) {
      const n = Atomics.load(this.#cells, at)
      if (n >= hard) return -1
      if (Atomics.compareExchange(this.#cells, at, n, n + 1) === n) return n + 1
    }
  }

  /** Counts one less; gives the count before. */
  release(slot: number): number {
    return Atomics.sub(this.#cells, SLOTS + slot, 1)
  }

  /** Notes that some bucket may have changed. True when that is news since the last look. */
  markChanged(): boolean {
    return Atomics.exchange(this.#cells, CHANGED, 1) === 0
  }

  /** Whoever looks at the buckets calls this first, so that no change is missed. */
  clearChanged(): void {
    Atomics.store(this.#cells, CHANGED, 0)
  }

  /** A worker has one more (or one less) request that waits for a slot. */
  addWaiting(worker: number, delta: 1 | -1): void {
    Atomics.add(this.#cells, WAITING + worker, delta)
  }

  /** Requests that wait in other workers. */
  waitingElsewhere(worker: number): number {
    let n = 0
    for (let w = 0; w < LOAD_WORKERS_MAX; w++)
      if (w !== worker) n += Atomics.load(this.#cells, WAITING + w)
    return n
  }
}

export interface LoadTableOptions {
  readonly memory: SharedArrayBuffer
  /** Number of this worker, from 0. */
  readonly worker: number
  /** A bucket may have changed; said once until somebody has looked. */
  readonly onChanged?: () => void
}

/**
 * One worker's way to the counts. The edge's main thread assigns slots to machines and tells every
 * worker before it tells them of the machine; a table made by `alone` assigns them itself.
 */
export class LoadTable {
  readonly cells: LoadCells
  readonly worker: number
  readonly #onChanged: () => void
  readonly #slots = new Map<string, readonly number[]>()
  #own: number | null = null

  constructor({ memory, worker, onChanged = () => {} }: LoadTableOptions) {
    this.cells = new LoadCells(memory)
    this.worker = worker
    this.#onChanged = onChanged
  }

  /** For an edge of one thread. */
  static alone(slots = 1_024): LoadTable {
    const table = new LoadTable({ memory: newLoadMemory(slots), worker: 0 })
    table.#own = 0
    return table
  }

  assign(machine: string, slots: readonly number[]): void {
    this.#slots.set(machine, slots)
  }

  forget(machine: string): void {
    this.#slots.delete(machine)
  }

  /** -1 when there is none: the service is then not counted. */
  slotOf(machine: string, service: number): number {
    return this.#slots.get(machine)?.[service] ?? this.#assignOwn(machine, service)
  }

  bucket(slot: number, limits: LoadLimits): LoadBucket {
    return slot < 0 ? 0 : bucketOf(this.cells.count(slot), limits)
  }

  /** Counts one more; false at the hard limit. */
  claim(slot: number, { soft, hard }: LoadLimits): boolean {
    if (slot < 0) return true
    const n = this.cells.claim(slot, hard)
    if (n < 0) return false
    if (n === soft || n === hard) this.#changed()
    return true
  }

  /** Counts one less; true when the service had no slot left before. */
  release(slot: number, { soft, hard }: LoadLimits): boolean {
    if (slot < 0) return false
    const n = this.cells.release(slot)
    if (n === soft || n === hard) this.#changed()
    return hard !== null && n >= hard
  }

  #changed(): void {
    if (this.cells.markChanged()) this.#onChanged()
  }

  #assignOwn(machine: string, service: number): number {
    if (this.#own === null || this.#own >= this.cells.slots) return -1
    const slots = [...(this.#slots.get(machine) ?? [])]
    while (slots.length <= service && this.#own < this.cells.slots) slots.push(this.#own++)
    this.#slots.set(machine, slots)
    return slots[service] ?? -1
  }
}
