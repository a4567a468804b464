import { READ_BUFFER_BYTES, STREAM_BUFFERS_KEPT } from '../limits.ts'

/**
 * A buffer that a long response is read into and written from, without a copy between. Belongs to its
 * reader until `leave`, and to the writes that were made from it until they are done.
 */
export class StreamBuffer {
  readonly bytes = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  readonly #onFree: (buffer: StreamBuffer) => void
  #writes = 0
  #read = true
  readonly #onWritten = (): void => {
    this.#writes--
    this.#check()
  }

  constructor(onFree: (buffer: StreamBuffer) => void) {
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
  readonly #free: StreamBuffer[] = []
  readonly #onFree = (buffer: StreamBuffer): void => {
    if (this.#free.length < STREAM_BUFFERS_KEPT) this.#free.push(buffer)
  }

  take(): StreamBuffer {
    const buffer = this.#free.pop() ?? new StreamBuffer(this.#onFree)
    buffer.enter()
    return buffer
  }
}
