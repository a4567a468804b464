import type { Counters } from '../counters.ts'
import { OBSERVED_BATCH_BYTES, OBSERVED_FLUSH_MS, OBSERVED_PENDING_BYTES_MAX } from '../limits.ts'
import type { SpanData } from './span.ts'

/** What a worker hands to its process at a time. */
export interface ObservedBatch {
  /** Whole lines of the access log. */
  readonly lines: string
  readonly spans: readonly SpanData[]
  /** What it counts until `acknowledge`. */
  readonly bytes: number
}

export interface OutletOptions {
  readonly counters: Counters
  readonly emit: (batch: ObservedBatch) => void
  /** Calls back once after `ms`. */
  readonly later: (ms: number, callback: () => void) => void
}

/**
 * Lines and spans on their way out of a worker, in batches. Whoever takes them says when they are done
 * with; while too much is under way, what comes is dropped and counted.
 */
export class Outlet {
  readonly #options: OutletOptions
  #lines = ''
  #spans: SpanData[] = []
  #bytes = 0
  #pendingBytes = 0
  #isWaiting = false

  constructor(options: OutletOptions) {
    this.#options = options
  }

  line(text: string): void {
    if (!this.#admit(text.length + 1, 'access_log_lines')) return
    this.#lines += `${text}\n`
    this.#schedule()
  }

  span(span: SpanData): void {
    if (!this.#admit(SPAN_BYTES, 'spans')) return
    this.#spans.push(span)
    this.#schedule()
  }

  /** The batches of so many bytes are written, or were given up. */
  acknowledge(bytes: number): void {
    this.#pendingBytes -= bytes
  }

  flush(): void {
    if (this.#bytes === 0) return
    const batch = { lines: this.#lines, spans: this.#spans, bytes: this.#bytes }
    this.#lines = ''
    this.#spans = []
    this.#bytes = 0
    this.#options.emit(batch)
  }

  #admit(bytes: number, limit: 'access_log_lines' | 'spans'): boolean {
    if (this.#pendingBytes + bytes > OBSERVED_PENDING_BYTES_MAX) {
      this.#options.counters.limit(limit)
      return false
    }
    this.#pendingBytes += bytes
    this.#bytes += bytes
    return true
  }

  #schedule(): void {
    if (this.#bytes >= OBSERVED_BATCH_BYTES) this.flush()
    else if (!this.#isWaiting) {
      this.#isWaiting = true
      this.#options.later(OBSERVED_FLUSH_MS, () => {
        this.#isWaiting = false
        this.flush()
      })
    }
  }
}

/** A span's share of memory, roughly; it is not worth measuring each. */
const SPAN_BYTES = 1_024
