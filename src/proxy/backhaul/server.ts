import net from 'node:net'
import type { Timed } from '../../base/deadlines.ts'
import { latin1 } from '../../base/latin1.ts'
import type { OpenConnection, ProxyContext } from '../context.ts'
import * as limits from '../limits.ts'
import { acceptTcp } from '../tcp/forward.ts'
import { BackhaulConnection } from './backhaul-connection.ts'
import { ACCEPT_LINE, codeOfRefusal, type Preface, parsePreface, refusalLine } from './preface.ts'

/** Takes requests and streams of other edges; listens on the mesh address alone. */
export function createBackhaulServer(ctx: ProxyContext): net.Server {
  return net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (ctx.connections.size >= limits.CONNECTIONS_MAX) {
      ctx.counters.limit('connections')
      socket.on('error', () => {})
      socket.resetAndDestroy()
      return
    }
    new FirstLine(ctx, socket)
  })
}

/** Reads the first preface of a connection, which says what the connection is for. */
class FirstLine implements Timed, OpenConnection {
  deadline: number
  readonly #ctx: ProxyContext
  readonly #socket: net.Socket
  #read: Buffer = Buffer.alloc(0)
  readonly #onData = (data: Buffer): void => this.#take(data)
  readonly #onClose = (): void => this.#leave()

  constructor(ctx: ProxyContext, socket: net.Socket) {
    this.#ctx = ctx
    this.#socket = socket
    this.deadline = ctx.deadlines.now + limits.HEAD_READ_MS
    ctx.deadlines.add(this)
    ctx.connections.add(this)
    socket.on('error', () => {})
    socket.on('close', this.#onClose)
    socket.on('data', this.#onData)
  }

  onDeadline(): void {
    this.#ctx.counters.limit('head_read_ms')
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
    this.#socket.off('data', this.#onData)
    this.#socket.off('close', this.#onClose)
  }

  #take(data: Buffer): void {
    this.#read = this.#read.length === 0 ? data : Buffer.concat([this.#read, data])
    const end = this.#read.indexOf('\r\n')
    if (end < 0) {
      if (this.#read.length > limits.PREFACE_BYTES_MAX) this.#socket.destroy()
      return
    }
    const preface = parsePreface(latin1(this.#read, 0, end))
    if (!preface) {
      this.#ctx.counters.error('backhaul_refused')
      this.#socket.resetAndDestroy()
      return
    }
    this.#leave()
    if (preface.kind === 'http') new BackhaulConnection(this.#ctx, this.#socket).onData(this.#read)
    else this.#stream(preface, this.#read.subarray(end + 2))
  }

  #stream(preface: Preface, rest: Buffer): void {
    const ctx = this.#ctx
    const socket = this.#socket
    const route = ctx.view.app(preface.app)?.port('tcp', preface.port)
    socket.pause()
    if (rest.length > 0) socket.unshift(rest)
    if (!route) socket.end(refusalLine(codeOfRefusal('not-here')), 'latin1')
    else acceptTcp(ctx, socket, preface, route, preface.requestId, preface.machine, ACCEPT_LINE)
  }
}
