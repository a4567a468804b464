import net from 'node:net'
import type { Timed } from '../../base/deadlines.ts'
import { BodyTracker } from '../../base/http1/body.ts'
import { isBodiless, isHopeless } from '../../base/http1/response-head.ts'
import { latin1, octetsOf } from '../../base/latin1.ts'
import { type ReadSink, SocketReader, writeRead } from '../../base/socket-reader.ts'
import type { StreamBuffer } from '../../base/stream-buffers.ts'
import { DRAINING, reasonOfRefusal, refusalCode } from '../backhaul/preface.ts'
import type { ProxyContext } from '../context.ts'
import * as limits from '../limits.ts'
import type { UpstreamFailure, UpstreamUser } from './exchange.ts'

export interface UpstreamTarget {
  readonly address: string
  readonly port: number
  /** Another edge: it accepts or refuses before it answers. */
  readonly backhaul: boolean
  /** Ends each request head: the empty line, and `Connection: close` where one request is all. */
  readonly headEnd: string
}

/** Where a connection goes when its response is complete. */
export interface UpstreamHome {
  keep(connection: UpstreamConnection): boolean
  /** It is open, after `ms`. */
  connected(ms: number): void
  forget(connection: UpstreamConnection): void
  /** Makes sure that whoever is at the other end is still there; calls `gone` of all that wait if not. */
  check(): void
}

/** Of the CRLF CRLF that ends a head, while its last octet has not come. */
const END_BYTES_MAX = 3

const STATE = { idle: 0, accept: 1, head: 2, body: 3, tunnel: 4, closed: 5 } as const

/** One connection to an app, or to the edge of the host that runs it. Serves one request at a time. */
export class UpstreamConnection implements Timed, ReadSink {
  deadline: number
  readonly target: UpstreamTarget
  readonly #ctx: ProxyContext
  readonly #home: UpstreamHome
  readonly #socket: net.Socket
  readonly #body = new BodyTracker()
  #user: UpstreamUser | null = null
  #state: number = STATE.idle
  #connected = false
  readonly #dialledAt: number
  #accepted = false
  /** Requests served before the present one. */
  #served = 0
  /** The part of a head that has come. */
  #partial = ''
  #interims = 0
  /** The app will close after this response, or has said more than one. */
  #last = false
  #blocked = false
  readonly #reader: SocketReader
  readonly #headBytesMax: number

  constructor(ctx: ProxyContext, home: UpstreamHome, target: UpstreamTarget) {
    this.#ctx = ctx
    this.#home = home
    this.target = target
    this.#headBytesMax = limits.HEAD_BYTES_MAX + (target.backhaul ? limits.ADDED_BYTES_MAX : 0)
    this.deadline = ctx.deadlines.now + limits.CONNECT_MS
    this.#dialledAt = ctx.clock()
    this.#reader = new SocketReader(ctx.scratch)
    this.#reader.sink = this
    this.#socket = net.connect({
      host: target.address,
      port: target.port,
      noDelay: true,
      allowHalfOpen: true,
      onread: this.#reader.onread,
    })
    this.#reader.socket = this.#socket
    this.#socket.on('connect', () => this.#onConnect())
    this.#socket.on('drain', () => this.#onDrain())
    this.#socket.on('end', () => this.#onEnd())
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#onError(error))
    this.#socket.on('close', () => this.#onError(null))
    ctx.deadlines.add(this)
    ctx.counters.upstreamsOpen++
    ctx.counters.upstreamConnects++
  }

  get wasConnected(): boolean {
    return this.#connected
  }

  get usable(): boolean {
    return this.#state === STATE.idle
  }

  /** Sends a request's head, and what of its body came with it, as one write. */
  start(user: UpstreamUser, head: string): void {
    this.#user = user
    this.#state = this.target.backhaul ? STATE.accept : STATE.head
    this.#accepted = !this.target.backhaul
    this.#interims = 0
    this.#last = false
    if (this.#connected) this.#watch()
    this.#socket.write(head, 'latin1')
  }

  /** It is open, and the other edge (if there is one) has taken the request. */
  get accepted(): boolean {
    return this.#connected && this.#accepted
  }

  /** True when the caller should wait for onUpstreamDrain before it sends more. */
  write(data: Buffer | string): boolean {
    if (typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data))
      return false
    this.#blocked = this.#socket.writableLength > 0
    return this.#blocked
  }

  /** The same for what a client's read has lent. */
  pass(read: Buffer, stream: StreamBuffer | null): boolean {
    const full = !writeRead(this.#socket, read, stream)
    if (full) this.#blocked = true
    return full
  }

  end(): void {
    this.#socket.end()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** The user has no interest any more; nothing further is told to it. */
  abort(): void {
    this.#user = null
    this.#close()
  }

  onDeadline(): void {
    if (this.#state !== STATE.idle && !this.#connected) {
      this.#ctx.counters.limit('connect_ms')
      const code = this.target.backhaul ? 'PU03' : 'PC05'
      this.#fail({ code, reason: 'connecting took too long', stage: 'unsent', reused: false })
      return
    }
    if (this.#state === STATE.idle) this.#close()
    else {
      this.#watch()
      this.#home.check()
    }
  }

  /** The host at the other end does not answer any more. */
  gone(): void {
    const reason = 'its host went away'
    if (this.#state === STATE.idle) this.#close()
    else if (this.#state >= STATE.body) this.#cut(reason)
    else this.#fail({ code: 'PU03', reason, stage: 'sent', reused: false })
  }

  /** A host that lost its power says nothing, and TCP would wait for minutes. */
  #watch(): void {
    const { deadlines } = this.#ctx
    this.deadline = this.target.backhaul ? deadlines.now + limits.BACKHAUL_WATCH_MS : Infinity
  }

  /** Idle in a pool until `deadline`. */
  rest(deadline: number): void {
    this.deadline = deadline
    this.#state = STATE.idle
    this.#user = null
  }

  #onConnect(): void {
    this.#connected = true
    this.#home.connected(this.#ctx.clock() - this.#dialledAt)
    this.#watch()
    if (this.#accepted) this.#user?.onAccepted()
  }

  #onDrain(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.#user?.onUpstreamDrain()
  }

  onRead(data: Buffer, n: number, stream: StreamBuffer | null): void {
    const { scratch } = this.#ctx
    scratch.data = data
    scratch.stream = stream
    switch (this.#state) {
      case STATE.accept:
      case STATE.head:
        this.#onHead(n)
        break
      case STATE.body:
        this.#onBody(n)
        break
      case STATE.tunnel:
        this.#user?.onTunnelData(0, n)
        break
      default:
        // Nothing was asked: what it says can belong to no request (response splitting).
        this.#close()
    }
  }

  #onHead(n: number): void {
    const { data } = this.#ctx.scratch
    const base = this.#partial.length
    // A big first read is mostly body: its head is looked for in the beginning only.
    let text = latin1(data, 0, base === 0 ? Math.min(n, limits.HEAD_TEXT_BYTES) : n)
    if (base > 0) text = this.#partial + text
    let at = 0
    for (;;) {
      if (this.#state === STATE.accept) {
        at = this.#onAccept(text)
        if (at < 0) return
      }
      let end = text.indexOf('\r\n\r\n', at)
      if (end < 0 && text.length < base + n) {
        text = latin1(data, 0, n)
        end = text.indexOf('\r\n\r\n', at)
      }
      if (end < 0) break
      if (end - at > this.#headBytesMax) {
        this.#failLong()
        return
      }
      // Copied for a whole head alone: an app that sends an octet at a time has no head yet.
      const octets = base > 0 ? octetsOf(text) : data
      if (!this.#onWholeHead(octets, text, at, end, base, n)) return
      at = end + 4
    }
    this.#partial = text.slice(at)
    if (isHopeless(this.#partial, Math.max(0, base - at))) {
      this.#failSent('not an HTTP/1 response')
      return
    }
    if (this.#partial.length > this.#headBytesMax + END_BYTES_MAX) this.#failLong()
  }

  #failLong(): void {
    this.#ctx.counters.limit('head_bytes')
    this.#failSent('the response head is too large')
  }

  /** Another edge's word on our preface. Returns where the response begins, or -1. */
  #onAccept(text: string): number {
    if (text.charCodeAt(0) === 43 && text.charCodeAt(1) === 10) {
      this.#state = STATE.head
      this.#accepted = true
      this.#user?.onAccepted()
      return 2
    }
    const code = refusalCode(text)
    if (code === '') {
      this.#partial = text
      return -1
    }
    if (code === undefined) {
      this.#failSent('the other edge does not speak our protocol')
      return -1
    }
    const user = this.#user
    this.#partial = ''
    // It closes when it drains, and when it had not read the whole body as it refused, which cannot be
    // told from here: another request on it might never be read.
    this.#release(code !== DRAINING && user?.hasBody === false)
    user?.onFailed({ code, reason: reasonOfRefusal(code), stage: 'refused', reused: false })
    return -1
  }

  /** Returns whether another head follows (this one was interim). */
  #onWholeHead(
    octets: Buffer,
    text: string,
    at: number,
    end: number,
    base: number,
    n: number,
  ): boolean {
    const user = this.#user!
    const head = this.#ctx.scratch.response
    const bad = head.scan(octets, text, at, end, user.responseMode, this.target.backhaul)
    if (bad !== null) {
      this.#failSent(bad)
      return false
    }
    if (head.status < 200 && head.status !== 101) {
      if (++this.#interims > limits.INTERIM_RESPONSES_MAX) {
        this.#ctx.counters.limit('interim_responses')
        this.#failSent('too many interim responses')
        return false
      }
      user.onInterim(head)
      return this.#user === user
    }
    this.#partial = ''
    const from = end + 4 - base
    if (head.status === 101) {
      if (!user.wantsUpgrade) {
        this.#failSent('the app switched protocols without being asked')
        return false
      }
      this.#state = STATE.tunnel
      user.onSwitched(head, from, n)
      return false
    }
    this.#frame(user.toHead)
    const to = this.#body.take(this.#ctx.scratch.data, from, n)
    if (to < 0) {
      this.#failSent(this.#body.fault ?? 'the response body is malformed')
      return false
    }
    this.#respond(user, text, end + 4, from, to, n)
    return false
  }

  #frame(toHead: boolean): void {
    const head = this.#ctx.scratch.response
    this.#last = head.close
    if (isBodiless(head.status, toHead)) this.#body.none()
    else if (head.chunked) this.#body.chunked()
    else if (head.length >= 0) this.#body.length(head.length)
    else this.#body.untilClose()
  }

  #respond(
    user: UpstreamUser,
    text: string,
    at: number,
    from: number,
    to: number,
    n: number,
  ): void {
    const head = this.#ctx.scratch.response
    const { done } = this.#body
    const short = to - from <= limits.TEXT_BODY_BYTES_MAX && text.length - at >= to - from
    const bodyText = short ? text.slice(at, at + to - from) : ''
    this.#state = STATE.body
    if (done) this.#release(to === n && user.requestDone && !this.#last)
    user.onResponse(head, bodyText, from, to, done)
  }

  #onBody(n: number): void {
    const user = this.#user!
    const to = this.#body.take(this.#ctx.scratch.data, 0, n)
    if (to < 0) {
      const fault = this.#body.fault ?? 'the response body is malformed'
      this.#cut(fault)
      return
    }
    const { done } = this.#body
    if (done) this.#release(to === n && user.requestDone && !this.#last)
    user.onBody(0, to, done)
  }

  #onEnd(): void {
    if (this.#state === STATE.tunnel) this.#user?.onTunnelEnd()
    else if (this.#state === STATE.body && this.#body.endsByClose) {
      const user = this.#user
      this.#release(false)
      user?.onBody(0, 0, true)
    } else this.#onError(null)
  }

  #onError(error: NodeJS.ErrnoException | null): void {
    if (this.#state === STATE.closed) return
    if (this.#state === STATE.tunnel && !error) {
      const user = this.#user
      this.#user = null
      this.#close()
      user?.onTunnelEnd()
      return
    }
    if (this.#state === STATE.body || this.#state === STATE.tunnel) {
      this.#cut(error?.code ?? 'the app closed the connection')
      return
    }
    const reason = error?.code ?? 'the connection was closed before a response'
    const code = this.#codeOf(error)
    this.#fail({ code, reason, stage: this.#stage(), reused: this.#served > 0 })
  }

  #codeOf(error: NodeJS.ErrnoException | null): string {
    if (!this.#connected) {
      if (this.target.backhaul) return 'PU03'
      if (error?.code === 'ECONNREFUSED') return 'PC01'
      if (error?.code === 'ETIMEDOUT') return 'PC05'
      return error?.code === 'ECONNABORTED' ? 'PC04' : 'PC06'
    }
    return this.#accepted ? 'PU02' : 'PU03'
  }

  #stage(): UpstreamFailure['stage'] {
    return this.#connected ? 'sent' : 'unsent'
  }

  #failSent(reason: string): void {
    this.#fail({ code: 'PU02', reason, stage: 'sent', reused: false })
  }

  #fail(failure: UpstreamFailure): void {
    const user = this.#user
    this.#user = null
    this.#close()
    user?.onFailed(failure)
  }

  #cut(reason: string): void {
    const user = this.#user
    this.#user = null
    this.#close()
    user?.onCut(reason)
  }

  /** The present request is over. */
  #release(reusable: boolean): void {
    this.#served++
    this.#user = null
    this.#reader.settle()
    this.#state = STATE.idle
    if (!reusable || !this.#home.keep(this)) this.#close()
  }

  #close(): void {
    if (this.#state === STATE.closed) return
    this.#state = STATE.closed
    this.#ctx.deadlines.delete(this)
    this.#ctx.counters.upstreamsOpen--
    this.#home.forget(this)
    this.#reader.close()
    this.#socket.destroy()
  }
}
