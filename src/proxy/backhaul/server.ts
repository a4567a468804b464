import type net from 'node:net'
import { createReadingServer } from '../../base/accept.ts'
import type { Timed } from '../../base/deadlines.ts'
import { breakOff } from '../../base/ends.ts'
import { latin1 } from '../../base/latin1.ts'
import { own, type ReadSink, type SocketReader } from '../../base/socket-reader.ts'
import type { OpenConnection, ProxyContext } from '../context.ts'
import * as limits from '../limits.ts'
import { acceptTcp } from '../tcp/forward.ts'
import { BackhaulConnection } from './backhaul-connection.ts'
import { ACCEPT_LINE, codeOfRefusal, type Preface, parsePreface, refusalLine } from './preface.ts'

/** Takes requests and streams of other edges; listens on the mesh address alone. */
export function createBackhaulServer(ctx: ProxyContext): net.Server {
  return createReadingServer(ctx.scratch, (socket, reader) => {
    if (ctx.connections.size >= limits.CONNECTIONS_MAX) {
      ctx.counters.limit('connections')
      socket.on('error', () => {})
      breakOff(socket)
      return
    }
    new FirstLine(ctx, socket, reader)
  })
}

/** Reads the first preface of a connection, which says what the connection is for. */
class FirstLine implements Timed, OpenConnection, ReadSink {
  deadline: number
  readonly #ctx: ProxyContext
  readonly #socket: net.Socket
  readonly #reader: SocketReader
  #read: Buffer = Buffer.alloc(0)
  readonly #onClose = (): void => {
    this.#reader.close()
    this.#leave()
  }

  constructor(ctx: ProxyContext, socket: net.Socket, reader: SocketReader) {
    this.#ctx = ctx
    this.#socket = socket
    this.#reader = reader
    this.deadline = ctx.deadlines.now + limits.HEAD_READ_MS
    ctx.deadlines.add(this)
    ctx.connections.add(this)
    socket.on('error', () => {})
    socket.on('close', this.#onClose)
    reader.sink = this
  }

  onDeadline(): void {
    this.#ctx.counters.limit(this.#reader.sink ? 'head_read_ms' : 'linger')
    this.#socket.destroy()
  }

  drain(): void {
    this.deadline = this.#ctx.deadlines.now + limits.DRAIN_FIRST_REQUEST_MS
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #leave(): void {
    this.#ctx.deadlines.delete(this)
    this.#ctx.connections.delete(this)
    this.#reader.sink = null
    this.#socket.off('close', this.#onClose)
  }

  onRead(data: Buffer, n: number): void {
    const part = own(data, 0, n)
    this.#read = this.#read.length === 0 ? part : Buffer.concat([this.#read, part])
    const end = this.#read.indexOf('\r\n')
    if (end < 0) {
      if (this.#read.length > limits.PREFACE_BYTES_MAX) this.#socket.destroy()
      return
    }
    const preface = parsePreface(latin1(this.#read, 0, end))
    if (!preface) {
      this.#ctx.counters.error('backhaul_refused')
      breakOff(this.#socket)
      return
    }
    const read = this.#read
    if (preface.kind === 'http') {
      this.#leave()
      new BackhaulConnection(this.#ctx, this.#socket, this.#reader).onRead(read, read.length, null)
    } else this.#stream(preface, read.subarray(end + 2))
  }

  /** Whoever does not go then is let go. */
  #refuse(): void {
    this.#reader.sink = null
    this.#read = Buffer.alloc(0)
    this.deadline = this.#ctx.deadlines.now + limits.LINGER_MS
    this.#socket.end(refusalLine(codeOfRefusal('not-here')), 'latin1')
  }

  #stream(preface: Preface, rest: Buffer): void {
    const { app, port, machine } = preface
    const route = this.#ctx.view.app(app)?.port('tcp', port)
    if (!route) this.#refuse()
    else {
      this.#leave()
      const client = { socket: this.#socket, reader: this.#reader, first: rest }
      acceptTcp(this.#ctx, client, preface, route, preface.requestId, machine, ACCEPT_LINE)
    }
  }
}
