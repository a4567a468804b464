import type net from 'node:net'
import { breakOff } from './ends.ts'
import { latin1 } from './latin1.ts'
import type { StreamBuffer, StreamBuffers } from './stream-buffers.ts'

/** Who gets what a socket reads. */
export interface ReadSink {
  /**
   * data[0, n) has come. It is lent for the call: what waits longer is a copy (`own`), or is written with
   * `stream.lend()` where there is a stream.
   */
  onRead(data: Buffer, n: number, stream: StreamBuffer | null): void
}

/** What the sockets of one event loop read into. */
export interface ReadMemory {
  /** One for all of them, since each read is done with before the next one begins. */
  readonly buffer: Buffer
  /** For those that carry much, so that it need not be copied in order to wait. */
  readonly streams: StreamBuffers
  /** A sink has thrown, which is a fault of ours; its connection is broken off after this. */
  onFault(error: unknown): void
}

/** A read that brings so much is followed by more, and copying that would cost as much as reading. */
const STREAM_FROM_BYTES = 8 * 1024
/** As a string it is copied once and written without a thought for its memory: messages, mostly. */
const TEXT_BYTES_MAX = 1024
/** Node keeps the buffer it has when it gets this, which costs less than being told again. */
const NO_CHANGE = undefined as unknown as Uint8Array

/** Says where each read of a socket goes, by Node's `onread`, and hands it on. */
export class SocketReader {
  /** Nobody: what comes is dropped. */
  sink: ReadSink | null = null
  /** Whose reads these are. Whoever makes it sets this. */
  socket: net.Socket | null = null
  /** For `net.connect` and `new net.Socket`. */
  readonly onread: net.OnReadOpts = {
    buffer: () => this.#next(),
    callback: (n, data) => this.#onRead(n, data as Buffer),
  }
  readonly #memory: ReadMemory
  #stream: StreamBuffer | null = null
  #reading: Uint8Array | null = null
  #streams = false
  #closed = false

  constructor(memory: ReadMemory) {
    this.#memory = memory
  }

  /** For a socket of somebody else's making, such as one that speaks TLS. */
  static ofEvents(memory: ReadMemory, socket: net.Socket): SocketReader {
    const reader = new SocketReader(memory)
    reader.socket = socket
    socket.on('data', (data: Buffer) => reader.#give(data, data.length, null))
    return reader
  }

  /** What will be read next has nothing to do with what was: the stream's buffer is given back. */
  settle(): void {
    this.#streams = false
  }

  /** The socket is closed. */
  close(): void {
    this.#closed = true
    this.#leave()
  }

  /** Called after each read, and once at the beginning. */
  #next(): Uint8Array {
    if (this.#closed) return NO_CHANGE
    if (!this.#streams || !this.#stream || this.#stream.busy) {
      this.#leave()
      if (this.#streams) this.#stream = this.#memory.streams.take()
    }
    const next = this.#stream?.bytes ?? this.#memory.buffer
    if (next === this.#reading) return NO_CHANGE
    this.#reading = next
    return next
  }

  #onRead(n: number, data: Buffer): boolean {
    this.#streams = n >= STREAM_FROM_BYTES
    this.#give(data, n, this.#stream)
    return true
  }

  /** What somebody sends may find a fault of ours; it costs that connection, and not all the others. */
  #give(data: Buffer, n: number, stream: StreamBuffer | null): void {
    try {
      this.sink?.onRead(data, n, stream)
    } catch (error) {
      this.sink = null
      this.#memory.onFault(error)
      if (this.socket) breakOff(this.socket)
    }
  }

  #leave(): void {
    this.#stream?.leave()
    this.#stream = null
  }
}

/** A part of what was read, as it may be kept. */
export const own = (data: Buffer, from: number, to: number): Buffer =>
  Buffer.from(data.subarray(from, to))

/**
 * Writes a part of what was read, from where it lies if it can stay there. False when the reader
 * should pause until `drain`; what the kernel took at once needs no waiting, however much it was.
 */
export function writeRead(to: net.Socket, part: Buffer, stream: StreamBuffer | null): boolean {
  let taken: boolean
  if (part.length <= TEXT_BYTES_MAX) taken = to.write(latin1(part, 0, part.length), 'latin1')
  else taken = stream ? to.write(part, stream.lend()) : to.write(Buffer.from(part))
  return taken || to.writableLength === 0
}
