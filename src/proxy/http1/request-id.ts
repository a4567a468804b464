import { randomFillSync } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** Every text of three characters, with something after it, made once. */
const triples = (end: string): string[] =>
  Array.from(
    { length: 32 ** 3 },
    (_, n) => `${ALPHABET[n >> 10]!}${ALPHABET[(n >> 5) & 31]!}${ALPHABET[n & 31]!}${end}`,
  )

/** Octets of one id's random part, and of the pool that they are taken from: a draw for each would show. */
const DRAW_BYTES = 14
const POOL_BYTES = DRAW_BYTES * 256

/**
 * Request ids: ULIDs that grow within a millisecond, `-` and the region (H12). The random part is
 * drawn once a millisecond and its last 30 bits count on, which costs a fraction of a draw for each.
 */
export class RequestIds {
  readonly #upper = triples('')
  readonly #lower: string[]
  readonly #now: () => number
  #ms = 0
  #prefix = ''
  #count = 0
  readonly #pool = Buffer.alloc(POOL_BYTES)
  #drawn = POOL_BYTES

  constructor(region: string, now: () => number) {
    this.#lower = triples(`-${region}`)
    this.#now = now
  }

  next(): string {
    const now = this.#now()
    if (now !== this.#ms) this.#restart(now)
    const n = this.#count++ & 0x3fffffff
    return this.#prefix + this.#upper[n >> 15]! + this.#lower[n & 32767]!
  }

  #restart(now: number): void {
    this.#ms = now
    let time = ''
    for (let t = now, i = 0; i < 10; i++, t = Math.floor(t / 32)) time = ALPHABET[t % 32] + time
    const at = this.#draw()
    for (let i = 0; i < 10; i++) time += ALPHABET[this.#pool[at + i]! & 31]
    this.#prefix = time
    this.#count = this.#pool.readUInt32BE(at + 10) & 0x1fffffff
  }

  /** Where in the pool the next random octets lie. */
  #draw(): number {
    if (this.#drawn === POOL_BYTES) {
      randomFillSync(this.#pool)
      this.#drawn = 0
    }
    this.#drawn += DRAW_BYTES
    return this.#drawn - DRAW_BYTES
  }
}
