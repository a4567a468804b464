/** More are forgotten, all at once: a mark is a preference, not a truth. */
export const MARKS_MAX = 10_000

/** Names that something was said about a moment ago. */
export class Marks {
  readonly #until = new Map<string, number>()
  readonly #ms: number
  readonly #now: () => number

  /** A mark counts for `ms` in the time of `now`. */
  constructor(ms: number, now: () => number) {
    this.#ms = ms
    this.#now = now
  }

  get isEmpty(): boolean {
    return this.#until.size === 0
  }

  has(name: string): boolean {
    if (this.#until.size === 0) return false
    const until = this.#until.get(name)
    if (until === undefined) return false
    if (until > this.#now()) return true
    this.#until.delete(name)
    return false
  }

  add(name: string): void {
    if (this.#until.size >= MARKS_MAX) this.#until.clear()
    this.#until.set(name, this.#now() + this.#ms)
  }
}
