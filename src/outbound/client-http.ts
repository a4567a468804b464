import type { Socket } from 'node:net'
import { breakOff } from '../base/ends.ts'
import { BodyTracker } from '../base/http1/body.ts'
import { HeadBuffer } from '../base/http1/head-buffer.ts'
import { FAULTS, type HeadFault } from '../base/http1/head-faults.ts'
import { HEAD_BYTES_MAX } from '../base/http1/limits.ts'
import { latin1, octetsOf } from '../base/latin1.ts'
import type { SocketReader } from '../base/socket-reader.ts'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import { ClientConnection } from './client.ts'
import type { OutboundContext } from './context.ts'
import { authenticate, isValid, parseBasic } from './credentials.ts'
import type { OutboundUser } from './directory.ts'
import { type Failure, failure, failureResponse } from './errors.ts'
import { Forwarder } from './forward.ts'
import { CLIENT_IDLE_MS, HEAD_READ_MS, REQUEST_IDLE_MS } from './limits.ts'
import type { ProxyHead } from './proxy-head.ts'
import type { Upstream } from './upstream.ts'

const OPENED = 'HTTP/1.1 200 Connection established\r\n\r\n'

const STATE = { head: 0, connect: 1, body: 2, response: 3, ended: 4 } as const

/** HTTP/1 as a client speaks it to a forward proxy: requests in absolute form, and CONNECT. */
export class HttpClient extends ClientConnection {
  #state: number = STATE.head
  readonly #head = new HeadBuffer()
  readonly #body = new BodyTracker()
  #forwarder: Forwarder | null = null
  /** What was accepted on this connection before: the same words need no second look. */
  #credentials = ''
  #user: OutboundUser | null = null
  #clientEnded = false
  #closing = false
  #pumping = false
  #blocked = false
  #throttled = false

  constructor(ctx: OutboundContext, socket: Socket, reader: SocketReader) {
    super(ctx, socket, reader, 'connect')
  }

  drain(): void {
    this.#closing = true
    if (this.#state === STATE.head && this.#head.empty) this.#end()
  }

  // What the client does

  protected onBytes(data: Buffer, stream: StreamBuffer | null): void {
    switch (this.#state) {
      case STATE.head:
        this.#onHeadBytes(data)
        break
      case STATE.body:
        this.#onBodyBytes(data, stream)
        break
      // The next request waits, and so does what a tunnel will carry.
      case STATE.connect:
      case STATE.response:
        this.hold(data)
    }
  }

  protected onEnded(): void {
    this.#clientEnded = true
    if (this.#state === STATE.body) this.socket.destroy()
    else if (this.#state === STATE.head) this.socket.end()
    else this.#closing = true
  }

  protected onTimeout(): void {
    if (this.#throttled) {
      if (!this.ctx.meter.hasBytes(this.transfer!.user!)) return
      this.#throttled = false
      this.touch()
      this.resumeReading()
      this.#forwarder!.resume()
    } else if (this.#state === STATE.body || this.#state === STATE.response)
      this.#forwarder!.timeout(this.#state === STATE.body)
    else this.socket.destroy()
  }

  protected override onDrained(): void {
    this.#blocked = false
    if (!this.#throttled) this.#forwarder?.resume()
    if (this.#state === STATE.head) this.#pump()
  }

  protected override onGone(): void {
    this.#forwarder?.abort()
  }

  #onHeadBytes(data: Buffer): void {
    if (this.#head.empty) this.deadline = this.ctx.deadlines.now + HEAD_READ_MS
    const before = this.#head.text.length
    const part = latin1(data, 0, data.length)
    const end = this.#head.add(part)
    if (end < 0) {
      const fault = this.#head.fault(part)
      if (fault) this.#refuseHead(fault)
      return
    }
    const { text } = this.#head
    this.#head.clear()
    this.#onHead(text, end, data.subarray(end + 4 - before))
  }

  #onHead(text: string, end: number, rest: Buffer): void {
    const head = this.ctx.scratch.request
    // RFC 9112, 2.2: empty lines before a request are let pass.
    let from = 0
    while (text.startsWith('\r\n', from)) from += 2
    const fault =
      end < from
        ? FAULTS.line
        : end - from > HEAD_BYTES_MAX
          ? FAULTS.headBytes
          : head.scan(octetsOf(text), text, from, end)
    if (fault) {
      this.#refuseHead(fault)
      return
    }
    const transfer = this.begin()
    transfer.protocol = head.isConnect ? 'connect' : 'http'
    transfer.destination = head.destination
    const user = this.#authenticate(head.credentials)
    if (!user) {
      this.onRefused(
        head.credentials === ''
          ? failure(
              'credentials_required',
              'Proxy-Authorization: missing; use the whole URL that "fairway outbound create" printed, with its user and password',
            )
          : failure(
              'credentials_refused',
              'Proxy-Authorization: unknown or expired credentials; use the URL of the last "fairway outbound rotate"',
            ),
      )
      return
    }
    transfer.user = user
    if (head.isConnect) {
      this.#state = STATE.connect
      if (rest.length > 0) this.hold(rest)
      this.dial(user, head.destination!)
    } else this.#forward(head, user, rest)
  }

  #authenticate(credentials: string): OutboundUser | null {
    if (credentials === '') return null
    const now = this.ctx.now()
    if (this.#user && this.#credentials === credentials)
      return isValid(this.#user, now) ? this.#user : null
    const basic = parseBasic(credentials)
    const user = basic && authenticate(this.ctx.directory, basic.name, basic.secret, now)
    if (user) {
      this.#user = user
      this.#credentials = credentials
    }
    return user
  }

  // CONNECT

  protected onOpened(upstream: Upstream): void {
    if (this.#state !== STATE.connect) {
      this.#forwarder!.onOpen(upstream)
      return
    }
    this.#state = STATE.ended
    this.socket.write(OPENED, 'latin1')
    this.openTunnel(upstream, this.#clientEnded)
  }

  onRefused(failure: Failure): void {
    this.transfer?.finish(failure.code)
    this.#state = STATE.ended
    this.socket.write(failureResponse(failure))
    this.endAfterAnswer()
  }

  #refuseHead({ status, reason }: HeadFault): void {
    const code = status === 405 ? 'method_refused' : 'bad_request'
    this.begin().finish(code)
    this.#state = STATE.ended
    this.socket.write(failureResponse(failure(code, `request: ${reason}`), status))
    this.endAfterAnswer()
  }

  // Forwarded requests

  #forward(head: ProxyHead, user: OutboundUser, rest: Buffer): void {
    if (head.chunked) this.#body.chunked()
    else if (head.length > 0) this.#body.length(head.length)
    else this.#body.none()
    const to = this.#body.take(rest, 0, rest.length)
    if (to < 0) {
      this.onRefused(failure('bad_request', `request: ${this.#body.fault}`))
      return
    }
    this.#closing ||= head.close
    this.#state = this.#body.done ? STATE.response : STATE.body
    if (to < rest.length) this.hold(rest.subarray(to))
    this.#forwarder ??= new Forwarder(this.ctx, this)
    this.touch()
    this.#forwarder.request(head, user, this.transfer!, rest.subarray(0, to), this.#body.done)
  }

  #onBodyBytes(data: Buffer, stream: StreamBuffer | null): void {
    const to = this.#body.take(data, 0, data.length)
    if (to < 0) {
      this.transfer?.finish('bad_request')
      this.socket.destroy()
      return
    }
    this.touch()
    if (this.#body.done) {
      this.#state = STATE.response
      if (to < data.length) this.hold(data.subarray(to))
    }
    const part = to === data.length ? data : data.subarray(0, to)
    this.#forwarder!.sendBody(part, stream, this.#body.done)
  }

  // What the forwarder needs

  /** A response that ends the connection anyway, or must. */
  get closes(): boolean {
    return this.#closing || this.#clientEnded || this.ctx.draining
  }

  dialFor(user: OutboundUser, head: ProxyHead): void {
    this.dial(user, head.destination!)
    if (this.dialling) this.socket.pause()
  }

  /** The same request once more, on a new connection. */
  redial(): void {
    const { user, destination } = this.transfer!
    this.dial(user!, destination!)
  }

  /** The credential has used up its octets: both sides wait for the next look at the clock. */
  throttle(): void {
    this.#throttled = true
    this.deadline = this.ctx.deadlines.now
    this.socket.pause()
    this.#forwarder?.pause()
  }

  touch(): void {
    if (!this.#throttled) this.deadline = this.ctx.deadlines.now + REQUEST_IDLE_MS
  }

  pauseReading(): void {
    this.socket.pause()
  }

  resumeReading(): void {
    if (!this.held && !this.#throttled) this.socket.resume()
  }

  get out(): Socket {
    return this.socket
  }

  /** The socket takes no more for now; the next request waits too. */
  block(): void {
    this.#blocked = true
  }

  /** Half a response must not look whole. */
  cut(): void {
    breakOff(this.socket)
  }

  /** The response is complete; the connection goes on unless somebody said otherwise. */
  onResponded(closes: boolean): void {
    this.transfer?.finish('ok')
    // A client that still sends its request would go on with it on a connection that we reuse.
    if (closes || this.closes || !this.#body.done) this.#end()
    else {
      this.#state = STATE.head
      this.deadline = this.ctx.deadlines.now + CLIENT_IDLE_MS
      this.#pump()
    }
  }

  /** Goes on with what was held. A loop: answers of our own come before onBytes returns. */
  #pump(): void {
    if (this.#pumping || this.#blocked) return
    this.#pumping = true
    while (this.held && this.#state === STATE.head && !this.#blocked) {
      const { held } = this
      this.held = null
      this.#onHeadBytes(held)
    }
    this.#pumping = false
    if (this.#state === STATE.head && !this.#blocked) this.socket.resume()
  }

  #end(): void {
    this.#state = STATE.ended
    this.#forwarder?.abort()
    this.endAfterAnswer()
  }
}
