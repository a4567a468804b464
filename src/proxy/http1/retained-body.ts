import { own } from '../../base/socket-reader.ts'
import type { Counters } from '../counters.ts'
import * as limits from '../limits.ts'

/** What of a body came with its head: as text when it is short, so that it can go on in the head's write. */
export function bodyOf(
  text: string,
  at: number,
  data: Buffer,
  from: number,
  to: number,
): Buffer | string {
  if (from === to) return ''
  const short = to - from <= limits.TEXT_BODY_BYTES_MAX && text.length - at >= to - from
  return short ? text.slice(at, at + to - from) : own(data, from, to)
}

/** The parts of a request's body that another attempt has to send again. */
export class RetainedBody {
  /** Null: nothing came yet, or it is not kept. */
  parts: (Buffer | string)[] | null = null
  /** All that came of the body is in `parts`. */
  whole = true
  readonly #counters: Counters
  #keeping = false
  #bytes = 0

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /** More than may be kept. */
  get over(): boolean {
    return this.#bytes > limits.RETRY_BODY_BYTES_MAX
  }

  /** What comes is kept. */
  get keeping(): boolean {
    return this.#keeping
  }

  begin(first: Buffer | string): void {
    this.#keeping = true
    this.whole = true
    if (first.length > 0) this.add(first)
  }

  add(part: Buffer | string): void {
    if (!this.#keeping) {
      this.whole = false
      return
    }
    this.parts ??= []
    this.parts.push(part)
    this.#bytes += part.length
    this.#counters.retainedBytes += part.length
  }

  /** An app has taken the request: kept from here on only for those who may be asked again. */
  taken(idempotent: boolean): void {
    if (!idempotent || this.over) this.drop()
    else if (this.#bytes > 0 && this.#counters.retainedBytes > limits.RETAINED_BYTES_MAX) {
      this.#counters.limit('retained_bytes')
      this.drop()
    }
  }

  drop(): void {
    if (this.#bytes > 0) {
      this.whole = false
      this.#counters.retainedBytes -= this.#bytes
      this.#bytes = 0
    }
    this.parts = null
    this.#keeping = false
  }
}
