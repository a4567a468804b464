import type { EdgeLine, FeedLine } from '../model/wire.ts'
import { LoadCells, newLoadMemory } from '../proxy/balance/loads.ts'
import type { InstanceLoad } from '../proxy/observe/render.ts'
import { LoadReports, type LoadTold } from './edge-load-reports.ts'
import { type CountedMachine, LoadSlots } from './edge-load-slots.ts'
import type { ToWorker } from './edge-messages.ts'

/** Between two looks at the counts, however often workers say that something has changed. */
export const LOAD_SCAN_MIN_MS = 25
/** They are looked at so often anyway: limits may have changed under them. */
export const LOAD_SCAN_MAX_MS = 1_000

export interface EdgeLoadsOptions {
  readonly host: string
  /** To all workers. */
  readonly post: (message: ToWorker) => void
  /** To the agent. */
  readonly tell: (line: EdgeLine) => void
  readonly nowMs: () => number
  /** Slots; for tests. */
  readonly slots?: number
}

/**
 * The load of this host's machines, on the edge's main thread: assigns the slots that its workers
 * count in, and tells the agent when a service's bucket changes.
 */
export class EdgeLoads {
  readonly memory: SharedArrayBuffer
  readonly #cells: LoadCells
  readonly #options: EdgeLoadsOptions
  readonly #slots: LoadSlots
  readonly #reports: LoadReports
  /** Machines that workers were told to forget, by turn. */
  readonly #forgotten = new Map<number, readonly CountedMachine[]>()
  #turn = 0
  #scannedMs = -Infinity
  #timer: NodeJS.Timeout | null = null
  #timerMs = Infinity

  constructor(options: EdgeLoadsOptions) {
    this.#options = options
    this.memory = newLoadMemory(options.slots)
    const cells = new LoadCells(this.memory)
    this.#cells = cells
    this.#slots = new LoadSlots(options.host, cells)
    this.#reports = new LoadReports(cells)
    this.#scanAt(options.nowMs() + LOAD_SCAN_MAX_MS)
  }

  /** Hands a line of the feed on to the workers, with what they need to know of slots around it. */
  line(line: FeedLine): void {
    const { post } = this.#options
    const { assign, forget } = this.#slots.take(line)
    if (assign.length > 0) {
      const slots = assign.map(({ machine, slots }) => [machine, slots] as const)
      post({ t: 'load-slots', slots })
    }
    post({ t: 'line', line })
    if (forget.length === 0) return
    for (const machine of forget) this.#tell(this.#reports.forget(machine))
    this.#forgotten.set(++this.#turn, forget)
    post({ t: 'forget', machines: forget.map(({ machine }) => machine), turn: this.#turn })
  }

  /** What is in flight on each machine of the host, all its services together. */
  inFlight(): InstanceLoad[] {
    return [...this.#slots.machines()].map(({ app, machine, slots }) => {
      const concurrency = slots.reduce((n, slot) => n + (slot < 0 ? 0 : this.#cells.count(slot)), 0)
      return { app, machine, concurrency }
    })
  }

  /** Every worker has forgotten what it was told to up to this turn. */
  onForgotten(turn: number): void {
    for (const [at, machines] of this.#forgotten) {
      if (at > turn) return
      this.#forgotten.delete(at)
      for (const { slots } of machines) this.#slots.freed(slots)
    }
  }

  /** A worker says that some bucket may have changed. */
  onChanged(): void {
    this.#scanAt(this.#scannedMs + LOAD_SCAN_MIN_MS)
  }

  close(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
  }

  #scanAt(atMs: number): void {
    if (this.#timer && this.#timerMs <= atMs) return
    if (this.#timer) clearTimeout(this.#timer)
    this.#timerMs = atMs
    this.#timer = setTimeout(() => this.#scan(), Math.max(0, atMs - this.#options.nowMs()))
    this.#timer.unref()
  }

  #scan(): void {
    this.#timer = null
    const nowMs = this.#options.nowMs()
    this.#scannedMs = nowMs
    const { told, againMs } = this.#reports.scan(this.#slots.machines(), nowMs)
    this.#tell(told)
    this.#scanAt(Math.min(againMs, nowMs + LOAD_SCAN_MAX_MS))
  }

  #tell(told: readonly LoadTold[]): void {
    for (const line of told) this.#options.tell({ t: 'load', ...line })
  }
}
