import type { Socket } from 'node:net'
import type { Timed } from '../../base/deadlines.ts'
import { breakOff, bytesTaken } from '../../base/ends.ts'
import { BodyTracker } from '../../base/http1/body.ts'
import { HeadBuffer } from '../../base/http1/head-buffer.ts'
import { badBody, FAULTS, type HeadFault } from '../../base/http1/head-faults.ts'
import type { ResponseHead } from '../../base/http1/response-head.ts'
import { latin1, octetsOf, writeLatin1 } from '../../base/latin1.ts'
import { own, type ReadSink, type SocketReader, writeRead } from '../../base/socket-reader.ts'
import type { StreamBuffer } from '../../base/stream-buffers.ts'
import type { Lease } from '../balance/balancer.ts'
import type { ProxyContext } from '../context.ts'
import * as limits from '../limits.ts'
import { Exchange, type ExchangeClient } from './exchange.ts'
import type { RequestHead } from './request-head.ts'
import { bodyOf } from './retained-body.ts'

const STATE = { head: 0, body: 1, wait: 2, tunnel: 3, linger: 4, closed: 5 } as const

/**
 * A client's connection that carries HTTP/1. Reads one request at a time; what comes after it stays
 * unread until its response is complete (one held read at most). Subclasses say whose client it is:
 * the public's, or another edge.
 */
export abstract class HttpConnection implements Timed, ExchangeClient, ReadSink {
  deadline: number
  protected readonly ctx: ProxyContext
  protected readonly socket: Socket
  protected readonly exchange: Exchange
  /** The connection ends with the present response. */
  protected closing = false
  /** Octets from and to the client since the connection began. */
  protected received = 0
  protected sent = 0
  /** How long the present request may go without an octet. */
  protected idleMs = limits.REQUEST_IDLE_MS
  /** How long a head may take from its first octet on. */
  protected headReadMs = limits.HEAD_READ_MS
  protected readonly body = new BodyTracker()
  /** A request on its way to an idle connection is answered rather than cut off. */
  protected readonly refusesWhenDraining: boolean = false
  /** Takes the chunks off a response body in scratch; null: it goes on as it is. */
  protected unwrap: ((from: number, to: number) => Buffer) | null = null
  readonly #reader: SocketReader
  #tunnelIdleMs = Infinity
  readonly #head = new HeadBuffer()
  #state: number = STATE.head
  #held: Buffer | null = null
  #pumping = false
  /** Others have their turn before it goes on with what was held. */
  #yielding = false
  #ended = false
  #served = false
  #paused = false
  #blocked = false
  #lingered = 0
  /** What the client had taken when it seemed to be idle. */
  #taken = 0

  constructor(ctx: ProxyContext, socket: Socket, reader: SocketReader) {
    this.ctx = ctx
    this.socket = socket
    this.#reader = reader
    this.exchange = new Exchange(ctx, this)
    this.deadline = ctx.deadlines.now + limits.HEAD_READ_MS
    reader.sink = this
    socket.on('drain', () => this.#onDrain())
    socket.on('end', () => this.#onEnd())
    // What failed shows in `close`, which always follows.
    socket.on('error', () => {})
    socket.on('close', () => this.#onClose())
    ctx.deadlines.add(this)
    ctx.counters.connectionsOpen++
    ctx.connections.add(this)
  }

  // For subclasses

  /** Where the head begins in `text`: after an empty line (RFC 9112 2.2), or a preface. */
  protected abstract headStart(text: string): number
  protected abstract readonly trusted: boolean
  /**
   * A head was scanned. Answers it, or gives the exchange what it needs. `body`: what came with it.
   */
  protected abstract onRequest(head: RequestHead, body: Buffer | string): void
  /** Sends the answer to a head or body that is refused; the connection ends. */
  protected abstract refuse(fault: HeadFault, toHead: boolean): void
  /** The present request, if there is one, is over; `isWhole`: its response has been sent. */
  protected onEnded(_isWhole: boolean): void {}
  abstract requestText(lease: Lease, head: string, headEnd: string): string
  abstract onAccepted(): void
  /** How long a tunnel may be silent; Infinity: for as long as it likes. Probes find a dead peer. */
  protected abstract tunnelIdleMs(): number
  abstract sendFailure(status: 502 | 503 | 504, code: string, message: string): void
  protected abstract interimText(head: ResponseHead): string
  /** Status line and fields, with the empty line. May set `closing`. */
  protected abstract responseText(head: ResponseHead, bodyGoesOn: boolean): string

  /** Ends a request with a response of the edge's own. */
  protected answer(text: string): void {
    this.send(text)
    this.#next()
  }

  protected send(text: string): void {
    this.sent += text.length
    this.ctx.counters.bytesToClients += text.length
    if (!this.socket.write(text, 'latin1')) this.#block()
  }

  protected sendBytes(data: Buffer): void {
    this.sent += data.length
    this.ctx.counters.bytesToClients += data.length
    if (!this.socket.write(data)) this.#block()
  }

  /** The process drains: idle connections end now, others with their response. */
  drain(): void {
    this.closing = true
    if (this.#state !== STATE.head || !this.#head.empty || this.#held) return
    // A first request may be on its way: to it, an end without an answer is an error.
    if (this.#served && !this.refusesWhenDraining) this.#end()
    else this.deadline = this.ctx.deadlines.now + limits.DRAIN_FIRST_REQUEST_MS
  }

  /** Waits for nothing any more. A stream ends as if its app had ended it. */
  destroy(): void {
    if (this.#state === STATE.tunnel) this.socket.destroy()
    else this.#drop()
  }

  // The client's side

  /** Octets from the client; also called with what was read before this object existed. */
  onRead(data: Buffer, n: number, stream: StreamBuffer | null): void {
    this.received += n
    this.ctx.counters.bytesFromClients += n
    switch (this.#state) {
      case STATE.head:
        this.#onHeadData(data, n)
        break
      case STATE.body:
        this.#onBodyData(data, n, stream)
        break
      case STATE.wait:
        this.#hold(data, 0, n)
        break
      case STATE.tunnel:
        this.deadline = this.#tunnelDeadline()
        this.exchange.writeTunnel(data.subarray(0, n), stream)
        break
      case STATE.linger:
        this.#lingered += n
        if (this.#lingered > limits.LINGER_BYTES_MAX) {
          this.ctx.counters.limit('linger')
          this.#drop()
        }
    }
  }

  #onHeadData(data: Buffer, n: number): void {
    if (this.#head.empty) {
      const text = latin1(data, 0, Math.min(n, limits.HEAD_TEXT_BYTES))
      const end = text.indexOf('\r\n\r\n')
      if (end >= 0) {
        this.#onHead(data, text, end, data, end + 4, n)
        return
      }
      this.deadline = this.ctx.deadlines.now + this.headReadMs
    }
    const before = this.#head.text.length
    const part = latin1(data, 0, n)
    const end = this.#head.add(part)
    if (end >= 0) {
      const { text } = this.#head
      this.#head.clear()
      this.#onHead(octetsOf(text), text, end, data, end + 4 - before, n)
      return
    }
    const fault = this.#head.fault(part, this.trusted)
    if (fault) this.#refuse(fault)
  }

  /** A whole head: octets[0, end), and `text` is the same; what follows it is data[bodyFrom, n). */
  #onHead(
    octets: Buffer,
    text: string,
    end: number,
    data: Buffer,
    bodyFrom: number,
    n: number,
  ): void {
    const head = this.ctx.scratch.request
    const from = this.headStart(text)
    const fault = from < 0 ? FAULTS.line : head.scan(octets, text, from, end, this.trusted)
    if (fault) {
      this.#refuse(fault)
      return
    }
    if (head.chunked) this.body.chunked()
    else if (head.length > 0) this.body.length(head.length)
    else this.body.none()
    const to = this.body.take(data, bodyFrom, n)
    if (to < 0) {
      this.#refuse(badBody(this.body.fault), head.method === 'HEAD')
      return
    }
    this.#served = true
    if (this.body.done) {
      this.#state = STATE.wait
      this.#reader.settle()
    } else this.#state = STATE.body
    if (to < n) this.#hold(data, to, n)
    this.deadline = this.ctx.deadlines.now + this.idleMs
    this.onRequest(head, bodyOf(text, end + 4, data, bodyFrom, to))
  }

  #onBodyData(data: Buffer, n: number, stream: StreamBuffer | null): void {
    const to = this.body.take(data, 0, n)
    if (to < 0) {
      const { limit } = this.body.scanner!
      if (limit) this.ctx.counters.limit(limit)
      this.#refuseBody(badBody(this.body.fault))
      return
    }
    this.deadline = this.ctx.deadlines.now + this.idleMs
    if (this.body.done) {
      this.#state = STATE.wait
      this.#reader.settle()
      if (to < n) this.#hold(data, to, n)
    }
    if (this.exchange.active) this.exchange.sendBody(data.subarray(0, to), stream, this.body.done)
  }

  /** The upstream has part of it already: its connection ends, and so does the client's. */
  #refuseBody(fault: HeadFault): void {
    const { responded, toHead } = this.exchange
    this.exchange.abort()
    if (responded) this.cut()
    else this.#refuse(fault, toHead)
  }

  #refuse(fault: HeadFault, toHead = false): void {
    this.closing = true
    this.#held = null
    if (fault.limit) this.ctx.counters.limit(fault.limit)
    this.refuse(fault, toHead)
  }

  /** The next request waits until this one is answered. */
  #hold(data: Buffer, from: number, to: number): void {
    // What was held already is ours, and a long line of requests is not copied with each of them.
    const part = this.#pumping ? data.subarray(from, to) : own(data, from, to)
    this.#held = this.#held ? Buffer.concat([this.#held, part]) : part
    this.pauseReading()
  }

  #onEnd(): void {
    this.#ended = true
    switch (this.#state) {
      case STATE.tunnel:
        this.exchange.endTunnel()
        this.#onHalfClosed()
        break
      case STATE.wait:
        if (this.exchange.waiting) {
          // Nobody has begun with it, and whoever closes while waiting in line has mostly gone.
          this.socket.destroy()
          return
        }
        // It may only have closed its own side; a client that is gone shows when we write.
        this.closing = true
        this.#touch()
        break
      case STATE.body:
        this.socket.destroy()
        break
      default:
        // Nothing to wait for but our own last octets.
        this.socket.end()
    }
  }

  #onClose(): void {
    if (this.#state === STATE.closed) return
    this.#state = STATE.closed
    this.#reader.close()
    this.#held = null
    this.onEnded(false)
    this.ctx.deadlines.delete(this)
    this.ctx.counters.connectionsOpen--
    this.ctx.connections.delete(this)
    this.exchange.abort()
  }

  onDeadline(): void {
    const { counters } = this.ctx
    if (this.#isSlow()) this.#waitForClient()
    else if (this.#state === STATE.head) {
      counters.limit(this.#head.empty ? 'client_idle_ms' : 'head_read_ms')
      // Whoever has asked nothing would take an answer for that of its next request.
      if (this.#head.begun && !this.trusted) this.#refuse(FAULTS.headLate)
      else this.#drop()
    } else if (this.#state === STATE.tunnel) {
      const isHalfClosed = this.#ended || this.socket.writableEnded
      counters.limit(isHalfClosed ? 'tunnel_half_closed_ms' : 'request_idle_ms')
      this.#drop()
    } else if (this.#ended || this.#state === STATE.linger) {
      counters.limit(this.#ended ? 'half_close_grace_ms' : 'linger')
      this.#drop()
    } else if (this.#state === STATE.body && !this.#paused && !this.trusted) {
      // It is the client who owes the next octet.
      counters.limit('request_body_ms')
      this.#refuseBody(FAULTS.bodyLate)
    } else this.exchange.timeout()
  }

  // What the exchange tells

  sendInterim(head: ResponseHead): void {
    this.#touch()
    this.send(this.interimText(head))
  }

  sendResponse(head: ResponseHead, text: string, from: number, to: number, done: boolean): void {
    this.ctx.counters.requests[(head.status / 100) | 0]!++
    // A client that still sends its request would go on with it on a connection that we reuse.
    if (!this.body.done || this.ctx.draining) this.closing = true
    const out = this.responseText(head, !done)
    if (this.unwrap) {
      this.send(out)
      this.sendBody(from, to, done)
      return
    }
    if (to - from === text.length) this.send(out + text)
    else {
      const data = Buffer.allocUnsafe(out.length + to - from)
      writeLatin1(data, out, 0)
      this.ctx.scratch.data.copy(data, out.length, from, to)
      this.sendBytes(data)
    }
    if (done) this.#next()
    else this.#touch()
  }

  sendBody(from: number, to: number, done: boolean): void {
    if (to > from) {
      if (this.unwrap) this.sendBytes(this.unwrap(from, to))
      else this.#sendRead(from, to)
    }
    if (done) this.#next()
    else this.#touch()
  }

  cut(): void {
    // An end that looks regular would make half a response look whole.
    breakOff(this.socket)
  }

  pauseReading(): void {
    this.#paused = true
    this.socket.pause()
  }

  resumeReading(): void {
    if (!this.#paused || this.#held) return
    this.#paused = false
    this.socket.resume()
  }

  switchProtocols(head: ResponseHead, from: number, to: number): void {
    this.ctx.counters.requests[1]!++
    this.ctx.counters.tunnelsOpen++
    this.socket.once('close', () => this.ctx.counters.tunnelsOpen--)
    this.#state = STATE.tunnel
    this.#tunnelIdleMs = this.tunnelIdleMs()
    this.deadline = this.#tunnelDeadline()
    this.socket.setKeepAlive(true, limits.KEEPALIVE_PROBE_MS)
    this.send(this.responseText(head, true))
    if (to > from) this.sendTunnel(from, to)
    const held = this.#held
    this.#held = null
    this.resumeReading()
    if (held) this.exchange.writeTunnel(held, null)
    if (!this.#ended) return
    this.exchange.endTunnel()
    this.#onHalfClosed()
  }

  sendTunnel(from: number, to: number): void {
    this.deadline = this.#tunnelDeadline()
    this.#sendRead(from, to)
  }

  endTunnel(): void {
    this.socket.end()
    this.#onHalfClosed()
  }

  #onHalfClosed(): void {
    this.#tunnelIdleMs = Math.min(this.#tunnelIdleMs, limits.TUNNEL_HALF_CLOSED_MS)
    this.deadline = this.#tunnelDeadline()
  }

  #tunnelDeadline(): number {
    return this.ctx.deadlines.now + this.#tunnelIdleMs
  }

  #touch(): void {
    // Who still has to take something is given the time that everybody has for it.
    const isAwaited = this.#ended && this.socket.writableLength === 0
    const graceMs = isAwaited ? limits.HALF_CLOSE_GRACE_MS : this.idleMs
    this.deadline = this.ctx.deadlines.now + graceMs
  }

  #onTaken(): void {
    if (this.#state === STATE.tunnel) this.deadline = this.#tunnelDeadline()
    else this.#touch()
  }

  /** Kernels take a megabyte for a slow client at a time, and nothing is seen of it in between. */
  #waitForClient(): void {
    const idleMs = this.#state === STATE.tunnel ? this.#tunnelIdleMs : this.idleMs
    this.deadline = this.ctx.deadlines.now + Math.max(idleMs, limits.REQUEST_IDLE_MS)
  }

  /** Of what waits for the client, it has taken some since this was asked last: it is not idle. */
  #isSlow(): boolean {
    if (this.socket.writableLength === 0) return false
    // Its own head has to be here in time, whatever else goes on.
    if (this.#state === STATE.head && !this.#head.empty) return false
    const taken = bytesTaken(this.socket)
    if (taken === this.#taken) return false
    this.#taken = taken
    return true
  }

  /** Ends at once; not as if it were regular when something is missing. */
  #drop(): void {
    const { active, responded } = this.exchange
    if (this.socket.writableLength > 0 || (active && responded)) this.cut()
    else this.socket.destroy()
  }

  // Private

  /** What an upstream's read brought; written from where it lies when that buffer can be spared. */
  #sendRead(from: number, to: number): void {
    const { data, stream } = this.ctx.scratch
    const part = data.subarray(from, to)
    this.sent += part.length
    this.ctx.counters.bytesToClients += part.length
    if (!writeRead(this.socket, part, stream)) this.#block()
  }

  /** A write was not taken at once. What the kernel took all the same needs no waiting. */
  #block(): void {
    if (this.socket.writableLength === 0) return
    this.#blocked = true
    this.exchange.pauseUpstream()
  }

  #onDrain(): void {
    if (!this.#blocked) return
    this.#blocked = false
    this.#onTaken()
    this.exchange.resumeUpstream()
    // During a request it is the upstream who says when more is read.
    if (this.#state === STATE.head) this.#pump()
  }

  /** The response is complete. */
  #next(): void {
    if (this.#state === STATE.closed) return
    this.onEnded(true)
    if (this.closing || this.#ended) {
      this.#end()
      return
    }
    this.#state = STATE.head
    this.idleMs = limits.REQUEST_IDLE_MS
    this.deadline = this.ctx.deadlines.now + limits.CLIENT_IDLE_MS
    // One that asks and does not read is not asked for more until it has read.
    if (this.#blocked) this.pauseReading()
    else if (this.#held) this.#pump()
    else if (this.#paused && !this.#pumping) this.resumeReading()
  }

  /** Goes on with what was held. A loop: answers of our own come before onData returns. */
  #pump(): void {
    if (this.#pumping || this.#yielding) return
    this.#pumping = true
    let begun = 0
    while (this.#held && this.#state === STATE.head && !this.#blocked) {
      if (begun === limits.ANSWERS_PER_TURN_MAX) {
        this.ctx.counters.limit('answers_per_turn')
        break
      }
      begun++
      const held = this.#held
      this.#held = null
      this.#onHeadData(held, held.length)
    }
    this.#pumping = false
    if (this.#blocked) return
    if (begun > 0 && this.#state === STATE.head) this.#yield()
    else this.resumeReading()
  }

  /** Goes on in another turn of the loop; to read more at once would be to go on in this one. */
  #yield(): void {
    this.#yielding = true
    setImmediate(() => {
      this.#yielding = false
      // Its `close` may still be to come.
      if (this.socket.destroyed) return
      if (this.#held) this.#pump()
      else this.resumeReading()
    })
  }

  /** Ends after what was written; what the client still sends must not reset it on its way. */
  #end(): void {
    if (this.exchange.active) this.exchange.abort()
    this.#held = null
    this.#state = STATE.linger
    this.#touch()
    this.socket.end(() => {
      this.deadline = this.ctx.deadlines.now + limits.LINGER_MS
    })
    this.resumeReading()
  }
}
