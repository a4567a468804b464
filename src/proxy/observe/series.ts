import type { Counters } from '../counters.ts'
import { APPS_MEASURED_MAX, INSTANCES_MEASURED_MAX, STATUSES_PER_SERIES_MAX } from '../limits.ts'
import { NOWHERE, NumberRows, ROW_WIDTH, type RowsSnapshot } from './rows.ts'

/**
 * What the edge counts of each app (rows M2, M3). A request costs a comparison and a few adds:
 * connections keep the series of the app that they last asked for.
 */

/** Upper bounds of the histograms in seconds; the last bucket has none. */
export const BUCKETS_S = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const
const SUM = BUCKETS_S.length + 1
if (SUM + 1 !== ROW_WIDTH) throw new Error('a histogram has to fill a row')

/** Columns of the rows that are no histogram. */
export const COLUMN = { connects: 0, disconnects: 1, in: 2, out: 3 } as const

/** The app (or machine) that those are counted under for which there was no room. */
export const OVERFLOW = '_overflow'

/** What a row counts; its label is these joined by spaces, which none of them has. */
export type RowKind = 'edge' | 'edge-status' | 'app' | 'app-status' | 'app-connect'
const labelOf = (kind: RowKind, app: string, machine: string, status: string): string =>
  `${kind} ${app} ${machine} ${status}`

export function readLabel(label: string): {
  kind: RowKind
  app: string
  machine: string
  status: string
} {
  const [kind, app, machine, status] = label.split(' ') as [RowKind, string, string, string]
  return { kind, app, machine, status }
}

/** Responses by status, as histograms of their time. */
class StatusRows {
  readonly #rows: NumberRows
  readonly #label: (status: string) => string
  readonly #byStatus = new Map<number, number>()
  #status = 0
  #at = NOWHERE
  #other = -1
  /** Whoever still counts here gets no row again. */
  #isClosed = false

  constructor(rows: NumberRows, label: (status: string) => string) {
    this.#rows = rows
    this.#label = label
  }

  add(status: number, ms: number): void {
    if (status !== this.#status) {
      this.#status = status
      this.#at = this.#rowOf(status)
    }
    observe(this.#rows.values, this.#at, ms)
  }

  close(): void {
    for (const at of this.#byStatus.values()) this.#rows.give(at)
    this.#byStatus.clear()
    if (this.#other > 0) this.#rows.give(this.#other)
    this.#other = NOWHERE
    this.#at = NOWHERE
    this.#status = 0
    this.#isClosed = true
  }

  #rowOf(status: number): number {
    if (this.#isClosed) return NOWHERE
    const known = this.#byStatus.get(status)
    if (known !== undefined) return known
    if (this.#byStatus.size >= STATUSES_PER_SERIES_MAX) {
      if (this.#other < 0) this.#other = this.#rows.take(this.#label('other'))
      return this.#other
    }
    const at = this.#rows.take(this.#label(String(status)))
    this.#byStatus.set(status, at)
    return at
  }
}

function observe(values: Float64Array, at: number, ms: number): void {
  const seconds = ms / 1000
  let i = 0
  while (i < BUCKETS_S.length && seconds > BUCKETS_S[i]!) i++
  values[at + i]! += 1
  values[at + SUM]! += seconds
}

/** An app at the edge that accepts its clients. */
export class EdgeSeries {
  readonly app: string
  readonly #rows: NumberRows
  readonly #statuses: StatusRows
  #at: number

  constructor(rows: NumberRows, app: string) {
    this.app = app
    this.#rows = rows
    this.#at = rows.take(labelOf('edge', app, '', ''))
    this.#statuses = new StatusRows(rows, (status) => labelOf('edge-status', app, '', status))
  }

  /** `ms`: from the request's head to the response's. */
  responded(status: number, ms: number): void {
    this.#statuses.add(status, ms)
  }

  connected(): void {
    this.#rows.values[this.#at + COLUMN.connects]! += 1
  }

  disconnected(): void {
    this.#rows.values[this.#at + COLUMN.disconnects]! += 1
  }

  /** Octets from and to clients. */
  moved(received: number, sent: number): void {
    const { values } = this.#rows
    values[this.#at + COLUMN.in]! += received
    values[this.#at + COLUMN.out]! += sent
  }

  close(): void {
    this.#rows.give(this.#at)
    this.#at = NOWHERE
    this.#statuses.close()
  }
}

/** A machine at the edge of its own host. */
export class InstanceSeries {
  readonly app: string
  readonly machine: string
  readonly #rows: NumberRows
  readonly #statuses: StatusRows
  #at: number
  #connects: number

  constructor(rows: NumberRows, app: string, machine: string) {
    this.app = app
    this.machine = machine
    this.#rows = rows
    this.#at = rows.take(labelOf('app', app, machine, ''))
    this.#connects = rows.take(labelOf('app-connect', app, machine, ''))
    this.#statuses = new StatusRows(rows, (status) => labelOf('app-status', app, machine, status))
  }

  /** `ms`: from the request sent to the response's head. */
  responded(status: number, ms: number): void {
    this.#statuses.add(status, ms)
  }

  connected(ms: number): void {
    this.#rows.values[this.#at + COLUMN.connects]! += 1
    observe(this.#rows.values, this.#connects, ms)
  }

  disconnected(): void {
    this.#rows.values[this.#at + COLUMN.disconnects]! += 1
  }

  close(): void {
    this.#rows.give(this.#at)
    this.#rows.give(this.#connects)
    this.#at = NOWHERE
    this.#connects = NOWHERE
    this.#statuses.close()
  }
}

export interface SeriesLimits {
  readonly appsMax?: number
  readonly instancesMax?: number
  readonly rowsMax?: number
}

/** The series of one worker, by app and by machine of this host. */
export class AppMetrics {
  readonly #rows: NumberRows
  readonly #counters: Counters
  readonly #appsMax: number
  readonly #instancesMax: number
  readonly #edges = new Map<string, EdgeSeries>()
  readonly #instances = new Map<string, Map<string, InstanceSeries>>()
  #instanceCount = 0
  #edgeOverflow: EdgeSeries | null = null
  #instanceOverflow: InstanceSeries | null = null

  constructor(counters: Counters, limits: SeriesLimits = {}) {
    this.#counters = counters
    this.#rows = new NumberRows(limits.rowsMax, () => counters.limit('app_series'))
    this.#appsMax = limits.appsMax ?? APPS_MEASURED_MAX
    this.#instancesMax = limits.instancesMax ?? INSTANCES_MEASURED_MAX
  }

  edge(app: string): EdgeSeries {
    const known = this.#edges.get(app)
    if (known) return known
    if (this.#edges.size >= this.#appsMax) {
      this.#counters.limit('app_series')
      this.#edgeOverflow ??= new EdgeSeries(this.#rows, OVERFLOW)
      return this.#edgeOverflow
    }
    const series = new EdgeSeries(this.#rows, app)
    this.#edges.set(app, series)
    return series
  }

  instance(app: string, machine: string): InstanceSeries {
    const ofApp = this.#instances.get(app)
    const known = ofApp?.get(machine)
    if (known) return known
    if (this.#instanceCount >= this.#instancesMax) {
      this.#counters.limit('app_series')
      this.#instanceOverflow ??= new InstanceSeries(this.#rows, OVERFLOW, OVERFLOW)
      return this.#instanceOverflow
    }
    const series = new InstanceSeries(this.#rows, app, machine)
    if (ofApp) ofApp.set(machine, series)
    else this.#instances.set(app, new Map([[machine, series]]))
    this.#instanceCount++
    return series
  }

  /** Whether anything is counted of the app. */
  has(app: string): boolean {
    return this.#edges.has(app) || this.#instances.has(app)
  }

  /** Something of the app has changed: what is gone is not told any more. `machines` null: all of it. */
  changed(app: string, machines: readonly { readonly machine: string }[] | null): void {
    if (machines === null) {
      this.#edges.get(app)?.close()
      this.#edges.delete(app)
    }
    const ofApp = this.#instances.get(app)
    if (!ofApp) return
    const left = new Set(machines?.map(({ machine }) => machine))
    for (const [machine, series] of ofApp) {
      if (left.has(machine)) continue
      series.close()
      ofApp.delete(machine)
      this.#instanceCount--
    }
    if (ofApp.size === 0) this.#instances.delete(app)
  }

  snapshot(): RowsSnapshot {
    return this.#rows.snapshot()
  }
}
