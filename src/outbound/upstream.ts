import type { Socket } from 'node:net'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import type { OutboundContext } from './context.ts'
import type { Source } from './directory.ts'

/** Whoever uses a connection to a destination. */
export interface UpstreamUser {
  /** With `stream` the octets may be written from where they lie; without it only a copy may wait. */
  onUpstreamData(data: Buffer, stream: StreamBuffer | null): void
  onUpstreamEnd(): void
  onUpstreamDrain(): void
  /** It is gone, by an error or after both ends. */
  onUpstreamClose(error: NodeJS.ErrnoException | null): void
}

/** Node keeps the read buffer it has when it gets this. */
const NO_CHANGE = undefined as unknown as Uint8Array

/** A connection to a destination: reads into the worker's buffers, writes under back-pressure. */
export class Upstream {
  readonly address: string
  readonly family: 4 | 6
  readonly source: Source | null
  readonly socket: Socket
  user: UpstreamUser | null = null
  /** Called when it is gone. */
  release: (() => void) | null = null
  readonly #ctx: OutboundContext
  #stream: StreamBuffer | null = null
  #streaming = false
  #reading: Uint8Array | null = null
  #error: NodeJS.ErrnoException | null = null

  constructor(
    ctx: OutboundContext,
    to: { readonly address: string; readonly family: 4 | 6; readonly port: number },
    source: Source | null,
    onConnect: () => void,
  ) {
    this.#ctx = ctx
    this.address = to.address
    this.family = to.family
    this.source = source
    const onread = {
      buffer: () => this.#readBuffer(),
      callback: (n: number, data: Uint8Array) => this.#onRead(n, data as Buffer),
    }
    this.socket = ctx.connect({ ...to, onread }, source)
    this.socket.on('connect', onConnect)
    this.socket.on('end', () => this.user?.onUpstreamEnd())
    this.socket.on('drain', () => this.user?.onUpstreamDrain())
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#error = error
    })
    this.socket.on('close', () => this.#onClose())
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** What the next read goes into. Called after each, and once at the beginning. */
  #readBuffer(): Uint8Array {
    if (!this.#streaming || !this.#stream || this.#stream.busy) {
      this.#stream?.leave()
      this.#stream = this.#streaming ? this.#ctx.scratch.streams.take() : null
    }
    const next = this.#stream?.bytes ?? this.#ctx.scratch.buffer
    if (next === this.#reading) return NO_CHANGE
    this.#reading = next
    return next
  }

  #onRead(n: number, data: Buffer): boolean {
    const stream = this.#stream
    // Many octets at once: more will come, and copying them would cost as much as reading. A tunnel
    // that falls silent gives its buffer back.
    this.#streaming = n >= STREAM_FROM_BYTES
    this.user?.onUpstreamData(data.subarray(0, n), stream)
    return true
  }

  #onClose(): void {
    this.#stream?.leave()
    this.#stream = null
    this.release?.()
    this.user?.onUpstreamClose(this.#error)
    this.user = null
  }
}
const STREAM_FROM_BYTES = 8 * 1024

/** Writes what an upstream's read brought; false when the reader should pause until `drain`. */
export function writeRead(to: Socket, data: Buffer, stream: StreamBuffer | null): boolean {
  const done = stream ? to.write(data, stream.lend()) : to.write(Buffer.from(data))
  // What the kernel took at once needs no waiting, however much it was.
  return done || to.writableLength === 0
}
