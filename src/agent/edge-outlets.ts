import { AsyncLog } from '../base/async-log.ts'
import { systemClock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { ObservedBatch } from '../proxy/observe/outlet.ts'
import type { EdgeConfig } from './edge-config.ts'
import { OtlpExporter, readHeadersFile } from './otlp-exporter.ts'

/** What an ending edge gives to spans that wait. */
const EXPORT_CLOSE_MS = 2_000

/** Null when no traces are wanted, or when they cannot be sent: traffic does not wait for its traces. */
function exporterOf(
  { traces, host, region }: EdgeConfig,
  onProblem: (why: string) => void,
): OtlpExporter | null {
  if (!traces) return null
  try {
    return new OtlpExporter({
      ...{ endpoint: traces.endpoint, clock: systemClock, random: Math.random, onProblem },
      headers: traces.headersFile === null ? {} : readHeadersFile(traces.headersFile),
      resource: { host, region },
    })
  } catch (error) {
    onProblem(`no spans are exported: ${messageOf(error)}`)
    return null
  }
}

/** Where what the edge's workers write down goes: the access log's file, and the receiver of spans. */
export class EdgeOutlets {
  readonly #log: AsyncLog | null
  readonly #exporter: OtlpExporter | null

  constructor(config: EdgeConfig, onProblem: (why: string) => void) {
    this.#log = config.accessLog && new AsyncLog(config.accessLog.path)
    this.#exporter = exporterOf(config, onProblem)
  }

  /** `done`: the batch is written or queued, or was dropped. */
  take({ lines, spans }: ObservedBatch, done: () => void): void {
    if (lines !== '') this.#log?.write(lines)
    if (spans.length > 0) this.#exporter?.add(spans)
    // Both have bounded queues of their own.
    done()
  }

  /** In the text format of Prometheus; '' when nothing is configured. */
  metrics(): string {
    const lines: string[] = []
    if (this.#log)
      lines.push(
        '# TYPE fairway_edge_access_log_dropped_bytes_total counter',
        `fairway_edge_access_log_dropped_bytes_total ${this.#log.droppedBytes}`,
      )
    if (this.#exporter) {
      const { exported, overflowed, failed } = this.#exporter.counts
      lines.push(
        '# TYPE fairway_edge_spans_exported_total counter',
        `fairway_edge_spans_exported_total ${exported}`,
        '# TYPE fairway_edge_spans_dropped_total counter',
        `fairway_edge_spans_dropped_total{reason="overflow"} ${overflowed}`,
        `fairway_edge_spans_dropped_total{reason="failed"} ${failed}`,
      )
    }
    return lines.length > 0 ? `${lines.join('\n')}\n` : ''
  }

  async close(): Promise<void> {
    await Promise.all([this.#log?.close(), this.#exporter?.close(EXPORT_CLOSE_MS)])
  }
}
