import { createHash, randomFillSync } from 'node:crypto'
import type { RateLimit } from '../../model/service-options.ts'

/**
 * How much of their rates the sources and services of this host have used, exact over all workers of
 * an edge because they count in the same memory: the generic cell rate algorithm, whose whole state is
 * the time at which the next request would be due (TAT). A place that is due is like one that was
 * never used, so what is not in debt needs no room.
 */

/** Sources and services in debt at a time. Beyond, whoever is nearest to being even is let off. */
export const RATE_PLACES_MAX = 65_536
/** A key may stand in any of so many neighbouring places. */
const WAYS = 4
const SEED_CELLS = 2

/** A place: the tag of its key, and its TAT in microseconds of the monotonic clock. */
const TAT_BITS = 44n
const TAT_MASK = (1n << TAT_BITS) - 1n
const TAT_MAX = 2 ** 44
/** One of 262,144 is taken for one of its four neighbours, and shares its rate. */
const TAG_BITS = 20
/** A TAT further ahead than any burst reaches is of another turn of the clock. */
const HORIZON_US = 2 * 3_600e6
/** A worker whose code is not compiled yet can lose to others dozens of times in a row. */
const CAS_TRIES_MAX = 4_096

export const newRateMemory = (places = RATE_PLACES_MAX): SharedArrayBuffer => {
  const memory = new SharedArrayBuffer((SEED_CELLS + places) * BigInt64Array.BYTES_PER_ELEMENT)
  // A client that could foretell its place could crowd out another's.
  const seed = randomFillSync(new Uint8Array(SEED_CELLS * BigInt64Array.BYTES_PER_ELEMENT))
  new Uint8Array(memory).set(seed)
  return memory
}

/** Where a key may stand. */
export interface RateKey {
  readonly at: number
  readonly tag: number
}

export interface RateTableOptions {
  readonly memory: SharedArrayBuffer
  /** Milliseconds, with a fraction, the same in all workers, and never going back. */
  readonly now: () => number
  /** Somebody was let off for want of room. */
  readonly onFull?: () => void
}

export class RateTable {
  readonly #cells: BigInt64Array<SharedArrayBuffer>
  readonly #seed: Buffer
  readonly #sets: number
  readonly #now: () => number
  readonly #onFull: () => void
  /** What `#find` has read. */
  #found = 0n

  constructor({ memory, now, onFull = () => {} }: RateTableOptions) {
    this.#cells = new BigInt64Array(memory)
    this.#seed = Buffer.from(new Uint8Array(memory, 0, SEED_CELLS * 8))
    this.#sets = Math.floor((this.#cells.length - SEED_CELLS) / WAYS)
    this.#now = now
    this.#onFull = onFull
  }

  keyOf(name: string): RateKey {
    const hash = createHash('sha256').update(this.#seed).update(name).digest()
    return {
      at: SEED_CELLS + (hash.readUInt32BE(0) % this.#sets) * WAYS,
      tag: hash.readUInt32BE(4) >>> (32 - TAG_BITS),
    }
  }

  /** Takes one of the key's rate; gives 0, or after how many milliseconds there is one again. */
  take(key: RateKey, { perSecond, burst }: RateLimit): number {
    const stepUs = Math.max(1, Math.round(1e6 / perSecond))
    const nowUs = Math.floor(this.#now() * 1_000) % TAT_MAX
    for (let i = 0; i < CAS_TRIES_MAX; i++) {
      const at = this.#find(key, nowUs)
      const before = this.#found
      const ahead = tagOf(before) === key.tag ? aheadOf(before, nowUs) : 0
      const overUs = ahead - (burst - 1) * stepUs
      if (overUs > 0) return overUs / 1_000
      const tat = (nowUs + ahead + stepUs) % TAT_MAX
      const after = BigInt.asIntN(64, (BigInt(key.tag) << TAT_BITS) | BigInt(tat))
      if (Atomics.compareExchange(this.#cells, at, before, after) === before) return 0
    }
    // Each time another worker has taken one: so many at once are within a burst, or next time not.
    return 0
  }

  /** The key's place, else the one that is missed least. */
  #find({ at, tag }: RateKey, nowUs: number): number {
    let best = at
    let bestAhead = Infinity
    for (let way = at; way < at + WAYS; way++) {
      const cell = Atomics.load(this.#cells, way)
      const ahead = aheadOf(cell, nowUs)
      if (tagOf(cell) === tag && ahead > 0) {
        this.#found = cell
        return way
      }
      if (ahead >= bestAhead) continue
      best = way
      bestAhead = ahead
      this.#found = cell
    }
    if (bestAhead > 0) this.#onFull()
    return best
  }
}

const tagOf = (cell: bigint): number => Number(BigInt.asUintN(64, cell) >> TAT_BITS)

/** How far the cell's TAT is in the future; 0 when it is past, or means nothing. */
function aheadOf(cell: bigint, nowUs: number): number {
  const ahead = (Number(cell & TAT_MASK) - nowUs + TAT_MAX) % TAT_MAX
  return ahead < HORIZON_US ? ahead : 0
}
