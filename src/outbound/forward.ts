import { BodyTracker } from '../base/http1/body.ts'
import { withoutFields } from '../base/http1/fields.ts'
import { HEAD_BYTES_MAX } from '../base/http1/limits.ts'
import { isBodiless } from '../base/http1/response-head.ts'
import { latin1, octetsOf } from '../base/latin1.ts'
import { writeRead } from '../base/socket-reader.ts'
import type { StreamBuffer } from '../base/stream-buffers.ts'
import type { HttpClient } from './client-http.ts'
import type { OutboundContext } from './context.ts'
import type { OutboundUser } from './directory.ts'
import { type FailureCode, failure } from './errors.ts'
import type { ProxyHead } from './proxy-head.ts'
import { hostPort, type Transfer } from './request-log.ts'
import type { Upstream, UpstreamUser } from './upstream.ts'

const INTERIM_RESPONSES_MAX = 16
/** Only the proxy itself may say these, so that clients can tell its answers from others'. */
const OURS = new Set(['fairway-outbound-error', 'proxy-authenticate'])
const MENTIONS_OURS = /fairway-outbound-error|proxy-authenticate/i

/**
 * Passes one client's requests on, one after the other. The connection to a destination is kept for
 * the next request to the same one with the same credential, and never shared between clients.
 */
export class Forwarder implements UpstreamUser {
  readonly #ctx: OutboundContext
  readonly #client: HttpClient
  #upstream: Upstream | null = null
  /** Destination and credential of the open connection. */
  #key = ''
  #user: OutboundUser | null = null
  #transfer: Transfer | null = null
  #state: 'idle' | 'dial' | 'head' | 'body' = 'idle'
  #reused = false
  readonly #body = new BodyTracker()
  #partial = ''
  #interims = 0
  /** Of the request. */
  #text = ''
  #first: Buffer | null = null
  #requestDone = true
  #toHead = false
  #minor = 1
  #repeatable = false
  #where = ''

  constructor(ctx: OutboundContext, client: HttpClient) {
    this.#ctx = ctx
    this.#client = client
  }

  /** `first` is what has come of the body; `done`: that is all of it. */
  request(
    head: ProxyHead,
    user: OutboundUser,
    transfer: Transfer,
    first: Buffer,
    done: boolean,
  ): void {
    const to = head.destination!
    this.#where = hostPort(to)
    const key = `${user.name} ${this.#where}`
    this.#user = user
    this.#transfer = transfer
    this.#text = `${head.forward}\r\n`
    this.#first = first.length > 0 ? Buffer.from(first) : null
    this.#requestDone = done
    this.#toHead = head.method === 'HEAD'
    this.#minor = head.minor
    this.#repeatable = head.idempotent && done && first.length === 0
    this.#partial = ''
    this.#interims = 0
    // The policy may have changed since the connection was opened.
    const upstream = this.#upstream
    if (
      upstream &&
      key === this.#key &&
      user.served.policy.mayDial(to, upstream.address, upstream.family)
    ) {
      this.#reused = true
      transfer.address = upstream.address
      transfer.family = upstream.family
      transfer.pair = upstream.source?.pair ?? ''
      this.#send(upstream)
      return
    }
    this.abort()
    this.#key = key
    this.#reused = false
    this.#state = 'dial'
    this.#client.dialFor(user, head)
  }

  onOpen(upstream: Upstream): void {
    this.#upstream = upstream
    upstream.user = this
    this.#client.touch()
    this.#client.resumeReading()
    this.#send(upstream)
  }

  sendBody(data: Buffer, stream: StreamBuffer | null, done: boolean): void {
    this.#requestDone = done
    this.#transfer!.bytesUp += data.length
    const socket = this.#upstream?.socket
    if (!socket) return
    if (!writeRead(socket, data, stream)) this.#client.pauseReading()
    this.#meter(data.length)
  }

  pause(): void {
    this.#upstream?.socket.pause()
  }

  /** The client reads again. */
  resume(): void {
    this.#upstream?.socket.resume()
  }

  timeout(requesting: boolean): void {
    if (this.#state === 'head')
      this.#fail('upstream_timeout', requesting ? 'the request stopped' : 'no response in time')
    else this.#client.destroy()
  }

  /** Gives up whatever is open. */
  abort(): void {
    const upstream = this.#upstream
    this.#upstream = null
    this.#state = 'idle'
    if (!upstream) return
    upstream.user = null
    upstream.destroy()
  }

  onUpstreamData(data: Buffer, stream: StreamBuffer | null): void {
    if (this.#state === 'head') this.#onHead(data, stream)
    else if (this.#state === 'body') this.#onBody(data, stream)
    // Nothing was asked: what it says can belong to no request.
    else this.abort()
  }

  onUpstreamEnd(): void {
    if (this.#state === 'body' && this.#body.endsByClose) this.#done()
    else this.#lost()
  }

  onUpstreamDrain(): void {
    this.#client.resumeReading()
  }

  onUpstreamClose(): void {
    this.#lost()
  }

  #send(upstream: Upstream): void {
    this.#state = 'head'
    this.#transfer!.bytesUp += this.#text.length
    upstream.socket.write(this.#text, 'latin1')
    const first = this.#first
    this.#first = null
    if (first) this.sendBody(first, null, this.#requestDone)
  }

  #onHead(data: Buffer, stream: StreamBuffer | null): void {
    const before = this.#partial.length
    const text = this.#partial + latin1(data, 0, data.length)
    let from = 0
    for (;;) {
      const end = text.indexOf('\r\n\r\n', from)
      if ((end < 0 ? text.length : end) - from > HEAD_BYTES_MAX) {
        this.#fail('bad_response', 'its response head is too large')
        return
      }
      if (end < 0) {
        this.#partial = text.slice(from)
        return
      }
      const head = this.#ctx.scratch.response
      const octets = before === 0 ? data : octetsOf(text)
      const bad = head.scan(octets, text, from, end, 'pristine', false)
      if (bad || head.status === 101) {
        this.#fail('bad_response', bad ?? 'it switched protocols without being asked')
        return
      }
      from = end + 4
      if (head.status >= 200) {
        this.#respond(data.subarray(Math.max(0, from - before)), stream)
        return
      }
      if (++this.#interims > INTERIM_RESPONSES_MAX) {
        this.#fail('bad_response', 'too many interim responses')
        return
      }
      if (this.#minor > 0)
        this.#client.out.write(`HTTP/1.1 ${head.statusText}\r\n${head.fields}\r\n`, 'latin1')
    }
  }

  #respond(rest: Buffer, stream: StreamBuffer | null): void {
    const head = this.#ctx.scratch.response
    if (isBodiless(head.status, this.#toHead)) this.#body.none()
    else if (head.chunked && this.#minor === 0) {
      this.#fail('bad_response', 'it answered an HTTP/1.0 request in chunks')
      return
    } else if (head.chunked) this.#body.chunked()
    else if (head.length >= 0) this.#body.length(head.length)
    else this.#body.untilClose()
    if (head.close || this.#body.endsByClose) this.#key = ''
    const fields = MENTIONS_OURS.test(head.fields) ? withoutFields(head.fields, OURS) : head.fields
    const closes = this.#client.closes || this.#body.endsByClose || !this.#requestDone
    const connection = closes
      ? 'Connection: close\r\n'
      : this.#minor === 0
        ? 'Connection: keep-alive\r\n'
        : ''
    this.#state = 'body'
    this.#partial = ''
    this.#client.out.write(
      `HTTP/1.1 ${head.statusText}\r\n${fields}Via: 1.1 fairway\r\n${connection}\r\n`,
      'latin1',
    )
    this.#onBody(rest, stream)
  }

  #onBody(data: Buffer, stream: StreamBuffer | null): void {
    const to = this.#body.take(data, 0, data.length)
    if (to < 0) {
      this.#transfer!.finish('bad_response')
      this.abort()
      this.#client.cut()
      return
    }
    this.#client.touch()
    this.#transfer!.bytesDown += to
    if (to > 0 && !writeRead(this.#client.out, data.subarray(0, to), stream)) {
      this.#client.block()
      this.#upstream?.socket.pause()
    }
    if (to < data.length) this.#key = ''
    if (this.#body.done) this.#done()
    else this.#meter(to)
  }

  #done(): void {
    this.#state = 'idle'
    const closes = this.#body.endsByClose || !this.#requestDone
    if (this.#key === '' || closes) this.abort()
    else this.#upstream?.socket.resume()
    this.#client.onResponded(closes)
  }

  /** The destination has gone away, which is nothing special between two requests. */
  #lost(): void {
    const state = this.#state
    const again = state === 'head' && this.#reused && this.#repeatable && this.#partial === ''
    this.abort()
    if (again) {
      // It may have closed while the request was on its way (RFC 9110, 9.2.2).
      this.#reused = false
      this.#state = 'dial'
      this.#client.redial()
    } else if (state === 'head') this.#fail('upstream_closed', 'it closed without a response')
    else if (state === 'body') {
      this.#transfer!.finish('upstream_closed')
      this.#client.cut()
    }
  }

  #fail(code: FailureCode, why: string): void {
    this.abort()
    this.#client.onRefused(
      failure(code, `destination ${this.#where}: ${why}; check that it speaks HTTP/1.1 there`),
    )
  }

  /** Above its bytes per second, the connection waits for the clock. */
  #meter(n: number): void {
    if (this.#user && !this.#ctx.meter.bytes(this.#user, n)) this.#client.throttle()
  }
}
