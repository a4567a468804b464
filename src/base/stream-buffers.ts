/** What one read from a peer brings at most. */
export const READ_BUFFER_BYTES = 64 * 1024
/** Buffers for long responses that a worker keeps when nobody uses them. */
const STREAM_BUFFERS_KEPT = 64

/**
 * A buffer that a long response is read into and written from, without a copy between. Belongs to its
 * reader until `leave`, and to the writes that were made from it until they are done.
 */
export class StreamBuffer {
  readonly bytes: Buffer
  readonly #onFree: (buffer: StreamBuffer) => void
  #writes = 0
  #read = true
  readonly #onWritten = (): void => {
    this.#writes--
    this.#check()
  }

  constructor(bytes: number, onFree: (buffer: StreamBuffer) => void) {
    this.bytes = Buffer.allocUnsafeSlow(bytes)
    this.#onFree = onFree
  }

  /** A write from it is pending: nothing may be read into it. */
  get busy(): boolean {
    return this.#writes > 0
  }

  /** The callback for a write that begins now. */
  lend(): () => void {
    this.#writes++
    return this.#onWritten
  }

  /** Its reader begins with it. */
  enter(): void {
    this.#read = true
  }

  /** Its reader needs it no more. */
  leave(): void {
    this.#read = false
    this.#check()
  }

  #check(): void {
    if (!this.#read && this.#writes === 0) this.#onFree(this)
  }
}

/** The stream buffers of a worker; allocating them anew would keep the garbage collector busy. */
export class StreamBuffers {
  readonly #bytes: number
  readonly #outMax: number
  readonly #onRefused: () => void
  #out = 0
  readonly #free: StreamBuffer[] = []
  readonly #onFree = (buffer: StreamBuffer): void => {
    this.#out--
    if (this.#free.length < STREAM_BUFFERS_KEPT) this.#free.push(buffer)
  }

  /** Buffers of so many bytes; `onRefused`: all of `outMax` are in use. */
  constructor(bytes: number, outMax: number, onRefused: () => void) {
    this.#bytes = bytes
    this.#outMax = outMax
    this.#onRefused = onRefused
  }

  /** Null when too many are in use: reads are copied then. */
  take(): StreamBuffer | null {
    if (this.#out >= this.#outMax) {
      this.#onRefused()
      return null
    }
    this.#out++
    const buffer = this.#free.pop() ?? new StreamBuffer(this.#bytes, this.#onFree)
    buffer.enter()
    return buffer
  }
}
