import type { EdgeLine, LogLine } from '../model/wire.ts'
import type { FollowerEvents } from './feed-socket.ts'

export interface EdgeFactsSink {
  /** The revision that every edge of the host routes by; null while there is none. */
  revision(revision: number | null): void
  load(machine: string, service: number, load: 0 | 1 | 2): void
  log(line: LogLine): void
}

/** Services whose load one edge may tell; more are left out. */
export const LOADS_MAX = 20_000

interface EdgeFactsOf {
  applied: number | null
  readonly loads: Map<string, EdgeLine & { t: 'load' }>
}

/**
 * What the host's edges tell, put together: there are two while one replaces the other. A revision is
 * applied when both have it, the busier count is a service's load, and an edge that ends takes its
 * facts along.
 */
export class EdgeFacts implements FollowerEvents {
  readonly #edges = new Map<object, EdgeFactsOf>()
  readonly #sink: EdgeFactsSink

  constructor(sink: EdgeFactsSink) {
    this.#sink = sink
  }

  line(follower: object, line: EdgeLine): void {
    const edge = this.#edges.get(follower) ?? { applied: null, loads: new Map() }
    this.#edges.set(follower, edge)
    if (line.t === 'applied') {
      edge.applied = line.revision
      this.#tellRevision()
    } else if (line.t === 'load') {
      const id = `${line.machine}/${line.service}`
      if (edge.loads.size >= LOADS_MAX && !edge.loads.has(id)) return
      if (line.load === 0) edge.loads.delete(id)
      else edge.loads.set(id, line)
      this.#tellLoad(line.machine, line.service)
    } else if (line.t === 'log') this.#sink.log(line.line)
  }

  closed(follower: object): void {
    const edge = this.#edges.get(follower)
    if (!edge) return
    this.#edges.delete(follower)
    this.#tellRevision()
    for (const { machine, service } of edge.loads.values()) this.#tellLoad(machine, service)
  }

  /** Tells every load again, to a sink that did not listen before. */
  repeat(): void {
    for (const { loads } of this.#edges.values())
      for (const { machine, service } of loads.values()) this.#tellLoad(machine, service)
  }

  #tellRevision(): void {
    const applied = [...this.#edges.values()].flatMap((edge) => edge.applied ?? [])
    this.#sink.revision(applied.length > 0 ? Math.min(...applied) : null)
  }

  #tellLoad(machine: string, service: number): void {
    let load: 0 | 1 | 2 = 0
    for (const { loads } of this.#edges.values()) {
      const own = loads.get(`${machine}/${service}`)?.load ?? 0
      if (own > load) load = own
    }
    this.#sink.load(machine, service, load)
  }
}
