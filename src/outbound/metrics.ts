import type { CounterSnapshot } from './counters.ts'

/** Families of one number each: name, type, where it is in a snapshot. */
const PLAIN = [
  ['connections_accepted_total', 'counter', 'accepted'],
  ['connections_open', 'gauge', 'open'],
  ['connections_refused_total', 'counter', 'refused'],
  ['dials_total', 'counter', 'dials'],
  ['source_failovers_total', 'counter', 'failovers'],
  ['lookups_total', 'counter', 'lookups'],
  ['stream_buffers_refused_total', 'counter', 'streamsRefused'],
  ['faults_total', 'counter', 'faults'],
  ['log_lines_dropped_total', 'counter', 'logDropped'],
] as const

/** The sum of several workers' counts in the text format of Prometheus. */
export function renderMetrics(snapshots: readonly CounterSnapshot[]): string {
  const lines: string[] = []
  const total = (of: (s: CounterSnapshot) => number) => snapshots.reduce((n, s) => n + of(s), 0)
  const family = (name: string, type: string, samples: readonly (readonly [string, number])[]) => {
    lines.push(`# TYPE fairway_outbound_${name} ${type}`)
    for (const [labels, value] of samples) lines.push(`fairway_outbound_${name}${labels} ${value}`)
  }
  for (const [name, type, field] of PLAIN) family(name, type, [['', total((s) => s[field])]])
  family('bytes_total', 'counter', [
    ['{direction="up"}', total((s) => s.bytesUp)],
    ['{direction="down"}', total((s) => s.bytesDown)],
  ])
  const [first] = snapshots
  const keysOf = <K extends string>(record: Readonly<Record<K, number>> | undefined) =>
    Object.keys(record ?? {}) as K[]
  family(
    'finished_total',
    'counter',
    keysOf(first?.finished).map((p) => [`{protocol="${p}"}`, total((s) => s.finished[p])]),
  )
  family(
    'failed_total',
    'counter',
    keysOf(first?.failed).map((c) => [`{code="${c}"}`, total((s) => s.failed[c])]),
  )
  return `${lines.join('\n')}\n`
}
