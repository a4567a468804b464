import type { Candidate, PortRoute } from '../../view/edge-view.ts'
import * as limits from '../limits.ts'

/** What is known of one service of a machine that has failed lately. */
interface Record {
  requests: number
  failures: number
  /** Failures since the last success. */
  inARow: number
  windowUntilMs: number
  ejectedUntilMs: number
  /** How often one after the other; each time for twice as long. */
  ejections: number
}

/**
 * Machines that fail requests although their checks pass, or have none: they are left out for a while,
 * each time longer. Only what fails more than its peers is an outlier: when a bad request or a broken
 * database makes them all fail, taking machines away helps nobody. Half of the machines that could
 * serve stay in, whatever they do.
 */
export class Outliers {
  /** By machine and number of the service; empty while nothing fails, which then costs nothing. */
  readonly #machines = new Map<string, (Record | undefined)[]>()
  readonly #now: () => number
  #sweepMs = 0

  constructor(now: () => number) {
    this.#now = now
  }

  get isEmpty(): boolean {
    return this.#machines.size === 0
  }

  isEjected({ endpoint, service }: Candidate): boolean {
    const record = this.#machines.get(endpoint.machine)?.[service]
    return record !== undefined && record.ejectedUntilMs > this.#now()
  }

  succeeded({ endpoint, service }: Candidate): void {
    if (this.#machines.size === 0) return
    const now = this.#now()
    this.#sweep(now)
    const record = this.#machines.get(endpoint.machine)?.[service]
    if (!record) return
    roll(record, now)
    record.requests++
    record.inARow = 0
  }

  /** Gives for how many milliseconds the machine is ejected by this; 0 when it is not. */
  failed(route: PortRoute, candidate: Candidate): number {
    const now = this.#now()
    this.#sweep(now)
    const record = this.#recordOf(candidate, now)
    roll(record, now)
    record.requests++
    record.failures++
    record.inARow++
    if (record.ejectedUntilMs > now || !isFailing(record)) return 0
    if (!this.#mayEject(route, candidate, now)) return 0
    const ms = Math.min(limits.EJECT_MS * 2 ** record.ejections, limits.EJECT_MS_MAX)
    record.ejections++
    record.ejectedUntilMs = now + ms
    // When it comes back its first request shows whether it is well.
    record.inARow = limits.EJECT_FAILURES_IN_A_ROW - 1
    record.requests = 0
    record.failures = 0
    return ms
  }

  #mayEject(route: PortRoute, candidate: Candidate, now: number): boolean {
    let serving = 0
    let ejected = 0
    let failing = 0
    for (const other of route.candidates) {
      const { endpoint, service } = other
      if (endpoint.state !== 'started' || endpoint.cordoned) continue
      if (!endpoint.services[service]!.healthy) continue
      serving++
      const record = this.#machines.get(endpoint.machine)?.[service]
      if (!record || endpoint.machine === candidate.endpoint.machine) continue
      if (record.ejectedUntilMs > now) ejected++
      else if (record.inARow > 0 && record.windowUntilMs > now) failing++
    }
    const peers = serving - 1 - ejected
    return 2 * (ejected + 1) <= serving && 2 * failing <= peers
  }

  #recordOf({ endpoint: { machine }, service }: Candidate, now: number): Record {
    let records = this.#machines.get(machine)
    if (!records) {
      if (this.#machines.size >= limits.OUTLIERS_MAX)
        this.#machines.delete(this.#machines.keys().next().value!)
      records = []
      this.#machines.set(machine, records)
    }
    records[service] ??= {
      ...{ requests: 0, failures: 0, inARow: 0, ejections: 0, ejectedUntilMs: 0 },
      windowUntilMs: now + limits.EJECT_WINDOW_MS,
    }
    return records[service]
  }

  /** Forgets those that have been well for long, or that nobody asks any more. */
  #sweep(now: number): void {
    if (now < this.#sweepMs) return
    this.#sweepMs = now + limits.EJECT_WINDOW_MS
    for (const [machine, records] of this.#machines)
      if (records.every((record) => !record || isOver(record, now))) this.#machines.delete(machine)
  }
}

const isFailing = ({ requests, failures, inARow }: Record): boolean =>
  inARow >= limits.EJECT_FAILURES_IN_A_ROW ||
  (requests >= limits.EJECT_REQUESTS_MIN && failures >= limits.EJECT_SHARE * requests)

const isOver = ({ windowUntilMs, ejections, ejectedUntilMs }: Record, now: number): boolean =>
  windowUntilMs <= now && (ejections === 0 || ejectedUntilMs + limits.EJECT_MEMORY_MS <= now)

function roll(record: Record, now: number): void {
  if (now < record.windowUntilMs) return
  record.windowUntilMs = now + limits.EJECT_WINDOW_MS
  record.requests = 0
  record.failures = 0
  if (record.ejectedUntilMs + limits.EJECT_MEMORY_MS <= now) record.ejections = 0
}
