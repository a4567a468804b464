/** Resolution of every time-out. */
export const SWEEP_MS = 250

/** Something with a time-out: a connection, mostly. */
export interface Timed {
  /** In the time of `Deadlines.now`; Infinity for none. */
  deadline: number
  onDeadline(): void
}

/**
 * The time-outs of one worker. Setting one is a number written into its object; one sweep every
 * SWEEP_MS finds those that have passed, which at tens of thousands of connections costs less than a
 * timer each.
 */
export class Deadlines {
  /** Milliseconds since this began, as of the last sweep: small integers, which engines like. */
  now = 0
  readonly #clock: () => number
  readonly #began: number
  readonly #timed = new Set<Timed>()
  #timer: NodeJS.Timeout | null = null

  constructor(clock: () => number) {
    this.#clock = clock
    this.#began = clock()
  }

  start(): void {
    this.#timer = setInterval(() => this.sweep(), SWEEP_MS)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer)
    this.#timer = null
  }

  add(timed: Timed): void {
    this.#timed.add(timed)
  }

  delete(timed: Timed): void {
    this.#timed.delete(timed)
  }

  sweep(): void {
    const now = Math.floor(this.#clock() - this.#began)
    this.now = now
    for (const timed of this.#timed) if (timed.deadline <= now) timed.onDeadline()
  }
}
