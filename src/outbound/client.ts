import type { Socket } from 'node:net'
import type { Timed } from '../base/deadlines.ts'
import { unmapped } from '../base/ip.ts'
import type { ReadSink, SocketReader } from '../base/socket-reader.ts'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import type { Destination } from '../model/destination.ts'
import type { OpenConnection, OutboundContext } from './context.ts'
import type { Protocol } from './counters.ts'
import { Dial, type DialUser } from './dial.ts'
import type { OutboundUser } from './directory.ts'
import type { Failure } from './errors.ts'
import { HEAD_READ_MS, LINGER_BYTES_MAX, LINGER_MS } from './limits.ts'
import { Transfer } from './request-log.ts'
import { Tunnel } from './tunnel.ts'
import type { Upstream } from './upstream.ts'

/**
 * A client's connection, whatever it speaks: reads until it is known where to go, dials, and becomes
 * a tunnel. Each protocol says how it asks and how it is answered.
 */
export abstract class ClientConnection implements Timed, OpenConnection, DialUser, ReadSink {
  deadline: number
  protected readonly ctx: OutboundContext
  protected readonly socket: Socket
  protected readonly protocol: Protocol
  /** Arrived before it could be used; while there is some, nothing more is read. */
  protected held: Buffer | null = null
  protected transfer: Transfer | null = null
  protected dialling: Dial | null = null
  readonly #reader: SocketReader
  readonly #address: string
  #tunnel: Tunnel | null = null
  #lingered = -1
  #closed = false

  constructor(ctx: OutboundContext, socket: Socket, reader: SocketReader, protocol: Protocol) {
    this.ctx = ctx
    this.socket = socket
    this.protocol = protocol
    this.#reader = reader
    this.#address = unmapped(socket.remoteAddress ?? '')
    this.deadline = ctx.deadlines.now + HEAD_READ_MS
    ctx.deadlines.add(this)
    ctx.connections.add(this)
    ctx.counters.accepted++
    ctx.counters.open++
    reader.sink = this
    socket.on('end', () => this.#onEnd())
    socket.on('drain', () => this.#onDrain())
    socket.on('error', () => {})
    socket.on('close', (failed: boolean) => this.#onClose(failed))
  }

  /** New octets while there is no tunnel; lent, as `ReadSink` says. */
  protected abstract onBytes(data: Buffer, stream: StreamBuffer | null): void
  /** The client has ended its side before a tunnel was there. */
  protected abstract onEnded(): void
  /** Nothing it waits for has come in time. */
  protected abstract onTimeout(): void
  protected abstract onOpened(upstream: Upstream): void
  protected abstract onRefused(failure: Failure): void
  protected onDrained(): void {}
  protected onGone(): void {}
  abstract drain(): void

  destroy(): void {
    this.socket.destroy()
  }

  onDeadline(): void {
    if (this.#lingered >= 0) this.socket.destroy()
    else this.onTimeout()
  }

  onOpen(upstream: Upstream): void {
    this.dialling = null
    const transfer = this.transfer!
    transfer.address = upstream.address
    transfer.family = upstream.family
    transfer.pair = upstream.source?.pair ?? ''
    this.onOpened(upstream)
  }

  onFailed(failure: Failure): void {
    this.dialling = null
    this.onRefused(failure)
  }

  /** Begins with a request: what happens to it is logged as one line. */
  protected begin(): Transfer {
    this.transfer = new Transfer(this.ctx, this.protocol, this.#address)
    return this.transfer
  }

  protected dial(user: OutboundUser, to: Destination): void {
    const transfer = this.transfer!
    transfer.user = user
    transfer.destination = to
    this.deadline = Infinity
    this.dialling = new Dial(this.ctx, user, to, this)
    this.dialling.start()
  }

  /** Nothing more is read until `release`. */
  protected hold(data: Buffer): void {
    if (data.length > 0) this.held = Buffer.concat(this.held ? [this.held, data] : [data])
    this.socket.pause()
  }

  /** What was held, for whoever can use it now; reading goes on. */
  protected release(): Buffer | null {
    const { held } = this
    this.held = null
    this.socket.resume()
    return held
  }

  protected openTunnel(upstream: Upstream, ended: boolean): void {
    const tunnel = new Tunnel(this.ctx, this.socket, upstream, this.transfer!.user!, this.transfer!)
    this.#tunnel = tunnel
    this.deadline = Infinity
    const held = this.release()
    if (held) tunnel.onClientData(held, null)
    if (ended) tunnel.onClientEnd()
  }

  /** Ends after what was written; what the client still sends must not reset it on its way. */
  protected endAfterAnswer(): void {
    this.held = null
    this.#lingered = 0
    this.deadline = this.ctx.deadlines.now + LINGER_MS
    this.socket.end()
    this.socket.resume()
  }

  onRead(data: Buffer, n: number, stream: StreamBuffer | null): void {
    if (this.#tunnel) this.#tunnel.onClientData(data.subarray(0, n), stream)
    else if (this.#lingered < 0) this.onBytes(data.subarray(0, n), stream)
    else {
      this.#lingered += n
      if (this.#lingered > LINGER_BYTES_MAX) this.socket.destroy()
    }
  }

  #onEnd(): void {
    if (this.#tunnel) this.#tunnel.onClientEnd()
    else if (this.#lingered < 0) this.onEnded()
  }

  #onDrain(): void {
    if (this.#tunnel) this.#tunnel.onClientDrain()
    else this.onDrained()
  }

  #onClose(failed: boolean): void {
    if (this.#closed) return
    this.#closed = true
    this.#reader.close()
    this.ctx.deadlines.delete(this)
    this.ctx.connections.delete(this)
    this.ctx.counters.open--
    this.held = null
    this.dialling?.cancel()
    if (this.#tunnel) this.#tunnel.onClientClose(failed)
    else this.onGone()
    this.transfer?.finish('client_closed')
  }
}
