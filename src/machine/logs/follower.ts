import type { Clock } from '../../base/clock.ts'
import { Wake } from '../wake.ts'

/** Somebody who follows a log: looks for new lines, rests, looks again. */
export class Follower {
  readonly #wake: Wake
  #waiting: (() => void)[] = []
  #closed = false

  constructor(clock: Clock) {
    this.#wake = new Wake(clock)
  }

  /** Resolves when a look that begins from now on is over, or nobody looks any more. */
  round(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#wake.now()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** A look begins; call what it returns when all that it found has been taken. */
  begin(): () => void {
    const waiting = this.#waiting
    this.#waiting = []
    return () => {
      for (const resolve of waiting) resolve()
    }
  }

  /** Until somebody asks for a look, at most `ms`. */
  async rest(ms: number, signal: AbortSignal): Promise<void> {
    const cut = () => this.#wake.now()
    signal.addEventListener('abort', cut, { once: true })
    if (!signal.aborted) await this.#wake.sleep(ms)
    signal.removeEventListener('abort', cut)
  }

  close(): void {
    this.#closed = true
    this.begin()()
  }
}
