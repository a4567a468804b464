import type { Clock } from '../base/clock.ts'

/** One waiter, woken by time or by news. News that comes while nobody waits is kept. */
export class Wake {
  readonly #clock: Clock
  #news = false
  #cut: (() => void) | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): void {
    this.#news = true
    this.#cut?.()
  }

  /** Until there is news. */
  async wait(): Promise<void> {
    if (!this.#news) {
      await new Promise<void>((resolve) => {
        this.#cut = resolve
      })
    }
    this.#taken()
  }

  /** Until there is news, at most `ms`. */
  async sleep(ms: number): Promise<void> {
    if (!this.#news && ms > 0) {
      const controller = new AbortController()
      this.#cut = () => controller.abort()
      await this.#clock.sleep(ms, controller.signal).catch(() => {})
    }
    this.#taken()
  }

  #taken(): void {
    this.#news = false
    this.#cut = undefined
  }
}
