import type { Clock } from '../base/clock.ts'
import type { EdgeAcks } from './context.ts'

/**
 * Which revision each host's edge routes by, as its last report said. Kept in memory alone: after a
 * restart of the control plane the next reports fill it within REPORT_INTERVAL_MS.
 */
export class EdgeAckTable implements EdgeAcks {
  readonly #applied = new Map<string, number | null>()
  readonly #waiters = new Set<() => void>()
  readonly #liveHosts: () => readonly string[]
  readonly #clock: Clock

  constructor(liveHosts: () => readonly string[], clock: Clock) {
    this.#liveHosts = liveHosts
    this.#clock = clock
  }

  applied(host: string): number | null {
    return this.#applied.get(host) ?? null
  }

  report(host: string, revision: number | null): void {
    if (this.#applied.get(host) === revision) return
    this.#applied.set(host, revision)
    for (const wake of [...this.#waiters]) wake()
  }

  async waitFor(revision: number, timeoutMs: number): Promise<{ waiting: string[] }> {
    const waiting = () => this.#liveHosts().filter((host) => (this.applied(host) ?? -1) < revision)
    if (waiting().length === 0 || timeoutMs <= 0) return { waiting: waiting() }
    const timer = new AbortController()
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = () => {
      if (waiting().length === 0) resolve()
    }
    this.#waiters.add(wake)
    try {
      const timeout = this.#clock.sleep(timeoutMs, timer.signal).catch(() => {})
      await Promise.race([promise, timeout])
    } finally {
      this.#waiters.delete(wake)
      timer.abort()
    }
    return { waiting: waiting() }
  }
}
