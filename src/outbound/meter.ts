import type { OutboundUser } from './directory.ts'
import { type Failure, failure } from './errors.ts'

/** Credentials of all proxies that are counted at once. */
export const METER_SLOTS = 8_192
/** Of each slot, beside one column of open connections per worker. */
const WINDOW = 0
const OPENED = 1
const KILOBYTES = 2
const FIXED = 3

export const meterMemory = (workers: number): SharedArrayBuffer =>
  new SharedArrayBuffer(METER_SLOTS * (FIXED + workers) * 4)

/**
 * What each credential uses on this host, counted in memory that all workers share: open connections,
 * and, in windows of a second, new connections and octets. Slot 0 belongs to nobody.
 */
export class Meter {
  readonly #cells: Int32Array
  readonly #workers: number
  readonly #worker: number
  readonly #now: () => number

  constructor(memory: SharedArrayBuffer, workers: number, worker: number, now: () => number) {
    this.#cells = new Int32Array(memory)
    this.#workers = workers
    this.#worker = worker
    this.#now = now
  }

  /** Counts a new connection, or says which limit forbids it. Each success needs a `leave`. */
  enter(user: OutboundUser): Failure | null {
    const { connections, newPerSecond } = user.served.limits
    const base = this.#base(user.slot)
    if (connections !== null && this.open(user.slot) >= connections)
      return failure(
        'limit_connections',
        `credential ${user.name}: ${connections} connections are open, its limit; close some, or raise connections`,
      )
    if (newPerSecond !== null) {
      this.#window(base, user.served.limits.bytesPerSecond)
      if (Atomics.add(this.#cells, base + OPENED, 1) >= newPerSecond)
        return failure(
          'limit_rate',
          `credential ${user.name}: ${newPerSecond} new connections in a second, its limit; open fewer, or raise newPerSecond`,
        )
    }
    Atomics.add(this.#cells, base + FIXED + this.#worker, 1)
    return null
  }

  leave(user: OutboundUser): void {
    Atomics.sub(this.#cells, this.#base(user.slot) + FIXED + this.#worker, 1)
  }

  /** Counts octets; false when the credential has used up its share, and must wait for `hasBytes`. */
  bytes(user: OutboundUser, n: number): boolean {
    const { bytesPerSecond } = user.served.limits
    if (bytesPerSecond === null) return true
    const base = this.#base(user.slot)
    this.#window(base, bytesPerSecond)
    const used = Atomics.add(this.#cells, base + KILOBYTES, Math.ceil(n / 1024))
    return used * 1024 + n < bytesPerSecond
  }

  /** Whether the credential may move octets now. What it took too much is taken off the seconds after. */
  hasBytes(user: OutboundUser): boolean {
    const { bytesPerSecond } = user.served.limits
    if (bytesPerSecond === null) return true
    const base = this.#base(user.slot)
    this.#window(base, bytesPerSecond)
    return Atomics.load(this.#cells, base + KILOBYTES) * 1024 < bytesPerSecond
  }

  /** Connections that are open with a slot's credential, on all workers. */
  open(slot: number): number {
    const base = this.#base(slot) + FIXED
    let open = 0
    for (let i = 0; i < this.#workers; i++) open += Atomics.load(this.#cells, base + i)
    return open
  }

  /** A worker that died holds nothing any more. */
  forgetWorker(worker: number): void {
    for (let slot = 0; slot < METER_SLOTS; slot++)
      Atomics.store(this.#cells, this.#base(slot) + FIXED + worker, 0)
  }

  #base(slot: number): number {
    return slot * (FIXED + this.#workers)
  }

  /** Whoever finds that a second has begun empties its counts, but for octets beyond the limit. */
  #window(base: number, bytesPerSecond: number | null): void {
    const second = Math.floor(this.#now() / 1_000) | 0
    const seen = Atomics.load(this.#cells, base + WINDOW)
    if (seen === second) return
    if (Atomics.compareExchange(this.#cells, base + WINDOW, seen, second) !== seen) return
    Atomics.store(this.#cells, base + OPENED, 0)
    const share = Math.ceil((bytesPerSecond ?? 0) / 1024) * Math.max(1, second - seen)
    const used = bytesPerSecond === null ? 0 : Atomics.load(this.#cells, base + KILOBYTES)
    Atomics.store(this.#cells, base + KILOBYTES, Math.max(0, used - share))
  }
}
