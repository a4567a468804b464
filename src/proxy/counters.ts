import type { LimitName } from './limits.ts'

/** What one worker has counted since it began; plain numbers, so that a request costs a few adds. */
export class Counters {
  /** By first digit of the status sent to a client; an app may say anything up to 999. */
  readonly requests = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  connectionsAccepted = 0
  connectionsOpen = 0
  /** Connections to ports that nothing listens on. */
  connectionsReset = 0
  tunnelsOpen = 0
  bytesFromClients = 0
  bytesToClients = 0
  upstreamsOpen = 0
  upstreamsIdle = 0
  upstreamConnects = 0
  retries = 0
  /** Machines left out for a while because they fail requests. */
  ejections = 0
  backhaulRequests = 0
  queued = 0
  retainedBytes = 0
  readonly errors = new Map<string, number>()
  readonly limits = new Map<LimitName, number>()

  error(code: string): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1)
  }

  limit(name: LimitName): void {
    this.limits.set(name, (this.limits.get(name) ?? 0) + 1)
  }

  snapshot(): CounterSnapshot {
    return {
      requests: [...this.requests],
      gauges: {
        connections_open: this.connectionsOpen,
        tunnels_open: this.tunnelsOpen,
        upstream_connections_open: this.upstreamsOpen,
        upstream_connections_idle: this.upstreamsIdle,
        requests_queued: this.queued,
        retained_body_bytes: this.retainedBytes,
      },
      totals: {
        connections_accepted: this.connectionsAccepted,
        connections_reset: this.connectionsReset,
        client_bytes_received: this.bytesFromClients,
        client_bytes_sent: this.bytesToClients,
        upstream_connects: this.upstreamConnects,
        upstream_retries: this.retries,
        machine_ejections: this.ejections,
        backhaul_requests: this.backhaulRequests,
      },
      errors: [...this.errors],
      limits: [...this.limits],
    }
  }
}

/** Structured-clonable, for the way from a worker to the process that is asked for metrics. */
export interface CounterSnapshot {
  readonly requests: readonly number[]
  readonly gauges: Readonly<Record<string, number>>
  readonly totals: Readonly<Record<string, number>>
  readonly errors: readonly (readonly [string, number])[]
  readonly limits: readonly (readonly [string, number])[]
}

/** The sum of several workers' counts in the text format of Prometheus. */
export function renderMetrics(snapshots: readonly CounterSnapshot[]): string {
  const lines: string[] = []
  const family = (name: string, type: 'counter' | 'gauge', samples: Map<string, number>) => {
    lines.push(`# TYPE fairway_edge_${name} ${type}`)
    for (const [labels, value] of samples) lines.push(`fairway_edge_${name}${labels} ${value}`)
  }
  const sum = (pairsOf: (s: CounterSnapshot) => Iterable<readonly [string, number]>) => {
    const total = new Map<string, number>()
    for (const s of snapshots)
      for (const [label, n] of pairsOf(s)) total.set(label, (total.get(label) ?? 0) + n)
    return total
  }
  family(
    'requests_total',
    'counter',
    sum((s) =>
      s.requests
        .map((n, i) => [i < 6 ? `{status="${i}xx"}` : '{status="other"}', n] as const)
        .slice(1),
    ),
  )
  for (const name of Object.keys(snapshots[0]?.totals ?? {}))
    family(
      `${name}_total`,
      'counter',
      sum((s) => [['', s.totals[name] ?? 0]]),
    )
  for (const name of Object.keys(snapshots[0]?.gauges ?? {}))
    family(
      name,
      'gauge',
      sum((s) => [['', s.gauges[name] ?? 0]]),
    )
  family(
    'errors_total',
    'counter',
    sum((s) => s.errors.map(([c, n]) => [`{code="${c}"}`, n])),
  )
  family(
    'limit_hits_total',
    'counter',
    sum((s) => s.limits.map(([l, n]) => [`{limit="${l}"}`, n])),
  )
  return `${lines.join('\n')}\n`
}
