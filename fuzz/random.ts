/** A stream of numbers that a seed decides (splitmix32): a case is the same on every machine. */
export class Random {
  #state: number

  constructor(seed: number, stream: number) {
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(stream + 1, 0xc2b2ae35)
  }

  next(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let z = this.#state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.next() / 2 ** 32) * n)
  }

  /** From a to b, both possible. */
  between(a: number, b: number): number {
    return a + this.below(b - a + 1)
  }

  chance(probability: number): boolean {
    return this.next() / 2 ** 32 < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  text(alphabet: string, max: number, min = 0): string {
    let text = ''
    for (let n = this.between(min, max); n > 0; n--) text += alphabet[this.below(alphabet.length)]
    return text
  }
}
