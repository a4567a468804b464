import type { Clock } from '../base/clock.ts'
import type { AckedHost, HostAcks } from './context.ts'

/**
 * Which revision each host has brought in force, as its last report said: what its edge routes by, or
 * what its kernel sends and steers egress by. Kept in memory alone: after a restart of the control
 * plane the next reports fill it within REPORT_INTERVAL_MS.
 */
export class HostAckTable implements HostAcks {
  readonly #applied = new Map<string, number | null>()
  readonly #waiters = new Set<() => void>()
  readonly #liveHosts: () => readonly AckedHost[]
  readonly #clock: Clock

  constructor(liveHosts: () => readonly AckedHost[], clock: Clock) {
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

  async waitFor(
    revision: number,
    timeoutMs: number,
    concerns: (host: AckedHost) => boolean = () => true,
  ): Promise<{ waiting: string[] }> {
    const waiting = () =>
      this.#liveHosts()
        .filter((host) => concerns(host) && (this.applied(host.id) ?? -1) < revision)
        .map((host) => host.id)
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
