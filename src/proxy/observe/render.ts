import { mergeRows, type RowsSnapshot } from './rows.ts'
import { BUCKETS_S, COLUMN, type RowKind, readLabel } from './series.ts'

/** Requests and connections in flight on a machine of this host. */
export interface InstanceLoad {
  readonly app: string
  readonly machine: string
  readonly concurrency: number
}

export interface SeriesInput {
  readonly host: string
  readonly region: string
  readonly rows: readonly RowsSnapshot[]
  readonly loads: readonly InstanceLoad[]
  /** Connections that were reset because the edge had too many, or a service's rate was used up (M5). */
  readonly connectionsRefused: number
}

/** Sums that are one number of a row each: kind of the row, column, name. */
const PLAIN = [
  ['edge', COLUMN.connects, 'fly_edge_tcp_connects_count'],
  ['edge', COLUMN.disconnects, 'fly_edge_tcp_disconnects_count'],
  ['edge', COLUMN.in, 'fly_edge_data_in'],
  ['edge', COLUMN.out, 'fly_edge_data_out'],
  ['app', COLUMN.connects, 'fly_app_tcp_connects_count'],
  ['app', COLUMN.disconnects, 'fly_app_tcp_disconnects_count'],
] as const

/** Histograms, and the name of their count where Fly counts it as a series of its own. */
const TIMES = [
  ['edge-status', 'fly_edge_http_response_time_seconds', 'fly_edge_http_responses_count'],
  ['app-status', 'fly_app_http_response_time_seconds', 'fly_app_http_responses_count'],
  ['app-connect', 'fly_app_connect_time_seconds', null],
] as const

interface Row {
  /** Without braces. */
  readonly labels: string
  readonly values: Float64Array
}

/** Series of apps under the names that Fly's have (rows M1-M3, M5), in the text format of Prometheus. */
export function renderSeries({
  host,
  region,
  rows,
  loads,
  connectionsRefused,
}: SeriesInput): string {
  const place = `region="${region}",host="${host}"`
  const byKind = new Map<RowKind, Row[]>()
  for (const [label, values] of mergeRows(rows)) {
    const { kind, app, machine, status } = readLabel(label)
    let labels = `app="${app}",${place}`
    if (machine !== '') labels += `,instance="${machine}"`
    if (status !== '') labels += `,status="${status}"`
    const known = byKind.get(kind)
    if (known) known.push({ labels, values })
    else byKind.set(kind, [{ labels, values }])
  }
  const lines: string[] = []
  for (const [kind, column, name] of PLAIN) {
    lines.push(`# TYPE ${name} counter`)
    for (const { labels, values } of byKind.get(kind) ?? [])
      lines.push(`${name}{${labels}} ${values[column]}`)
  }
  for (const [kind, name, countName] of TIMES) {
    const of = byKind.get(kind) ?? []
    if (countName !== null) {
      lines.push(`# TYPE ${countName} counter`)
      for (const { labels, values } of of) lines.push(`${countName}{${labels}} ${countOf(values)}`)
    }
    lines.push(`# TYPE ${name} histogram`)
    for (const row of of) renderHistogram(lines, name, row)
  }
  lines.push('# TYPE fly_app_concurrency gauge')
  for (const { app, machine, concurrency } of loads)
    lines.push(`fly_app_concurrency{app="${app}",${place},instance="${machine}"} ${concurrency}`)
  lines.push('# TYPE fly_edge_tcp_rate_limited_count counter')
  lines.push(`fly_edge_tcp_rate_limited_count{${place},type="connections"} ${connectionsRefused}`)
  return `${lines.join('\n')}\n`
}

function renderHistogram(lines: string[], name: string, { labels, values }: Row): void {
  let count = 0
  for (const [i, bound] of BUCKETS_S.entries()) {
    count += values[i]!
    lines.push(`${name}_bucket{${labels},le="${bound}"} ${count}`)
  }
  count += values[BUCKETS_S.length]!
  lines.push(`${name}_bucket{${labels},le="+Inf"} ${count}`)
  lines.push(`${name}_sum{${labels}} ${values[BUCKETS_S.length + 1]}`)
  lines.push(`${name}_count{${labels}} ${count}`)
}

function countOf(values: Float64Array): number {
  let count = 0
  for (let i = 0; i <= BUCKETS_S.length; i++) count += values[i]!
  return count
}
