import { randomBytes } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** Every text of three characters, with something after it, made once. */
const triples = (end: string): string[] =>
  Array.from(
    { length: 32 ** 3 },
    (_, n) => `${ALPHABET[n >> 10]!}${ALPHABET[(n >> 5) & 31]!}${ALPHABET[n & 31]!}${end}`,
  )

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
    const bytes = randomBytes(14)
    for (let i = 0; i < 10; i++) time += ALPHABET[bytes[i]! & 31]
    this.#prefix = time
    this.#count = bytes.readUInt32BE(10) & 0x1fffffff
  }
}
