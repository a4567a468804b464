import type { Socket } from 'node:net'
import { breakOff } from '../base/ends.ts'
import { type ReadSink, SocketReader } from '../base/socket-reader.ts'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import type { OutboundContext } from './context.ts'
import type { Sender, Source } from './directory.ts'

/** Whoever uses a connection to a destination. */
export interface UpstreamUser {
  /** With `stream` the octets may be written from where they lie; without it only a copy may wait. */
  onUpstreamData(data: Buffer, stream: StreamBuffer | null): void
  onUpstreamEnd(): void
  onUpstreamDrain(): void
  /** It is gone, by an error or after both ends. */
  onUpstreamClose(error: NodeJS.ErrnoException | null): void
}

/** A connection to a destination: reads into the worker's buffers, writes under back-pressure. */
export class Upstream implements ReadSink, Sender {
  readonly address: string
  readonly family: 4 | 6
  readonly source: Source | null
  readonly socket: Socket
  user: UpstreamUser | null = null
  /** Called when it is gone. */
  release: (() => void) | null = null
  readonly #reader: SocketReader
  #error: NodeJS.ErrnoException | null = null

  constructor(
    ctx: OutboundContext,
    to: { readonly address: string; readonly family: 4 | 6; readonly port: number },
    source: Source | null,
    onConnect: () => void,
  ) {
    this.address = to.address
    this.family = to.family
    this.source = source
    this.#reader = new SocketReader(ctx.scratch)
    this.#reader.sink = this
    this.socket = ctx.connect({ ...to, onread: this.#reader.onread }, source)
    this.#reader.socket = this.socket
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

  breakOff(): void {
    breakOff(this.socket)
  }

  onRead(data: Buffer, n: number, stream: StreamBuffer | null): void {
    this.user?.onUpstreamData(data.subarray(0, n), stream)
  }

  #onClose(): void {
    this.#reader.close()
    this.release?.()
    this.user?.onUpstreamClose(this.#error)
    this.user = null
  }
}
