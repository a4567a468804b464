import { ChunkedScanner, type OnData } from './chunked.ts'

const FRAMING = { none: 0, length: 1, chunked: 2, close: 3 } as const

/** How far a message body has come, by its framing. One per connection, used again and again. */
export class BodyTracker {
  #framing: number = FRAMING.none
  #left = 0
  #chunks: ChunkedScanner | null = null
  done = true

  none(): void {
    this.#framing = FRAMING.none
    this.done = true
  }

  /** `length` octets. */
  length(length: number): void {
    this.#framing = FRAMING.length
    this.#left = length
    this.done = length === 0
  }

  chunked(): void {
    this.#framing = FRAMING.chunked
    this.#chunks ??= new ChunkedScanner()
    this.#chunks.reset()
    this.done = false
  }

  /** Until the connection ends; `done` is then for the caller to know. */
  untilClose(): void {
    this.#framing = FRAMING.close
    this.done = false
  }

  get endsByClose(): boolean {
    return this.#framing === FRAMING.close
  }

  get isChunked(): boolean {
    return this.#framing === FRAMING.chunked
  }

  get fault(): string | null {
    return this.#framing === FRAMING.chunked ? this.#chunks!.fault : null
  }

  get scanner(): ChunkedScanner | null {
    return this.#chunks
  }

  /** Takes data[from, to); returns where the body ends in it (`to` when it goes on), or -1. */
  take(data: Uint8Array, from: number, to: number, onData?: OnData): number {
    switch (this.#framing) {
      case FRAMING.length: {
        const end = Math.min(to, from + this.#left)
        this.#left -= end - from
        this.done = this.#left === 0
        return end
      }
      case FRAMING.chunked: {
        const end = this.#chunks!.feed(data, from, to, onData)
        this.done = this.#chunks!.done
        return end
      }
      case FRAMING.close:
        return to
      default:
        return from
    }
  }
}
