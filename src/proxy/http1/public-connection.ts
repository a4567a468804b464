import type { Socket } from 'node:net'
import { breakOff } from '../../base/ends.ts'
import { ChunkedScanner } from '../../base/http1/chunked.ts'
import { withoutFields } from '../../base/http1/fields.ts'
import type { HeadFault } from '../../base/http1/head-faults.ts'
import type { ResponseHead } from '../../base/http1/response-head.ts'
import type { SocketReader } from '../../base/socket-reader.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import { prefaceOrigin, prefaceTarget } from '../backhaul/preface.ts'
import type { Lease } from '../balance/balancer.ts'
import { drawRelease } from '../balance/release-split.ts'
import { Steering } from '../balance/steering.ts'
import type { ProxyContext } from '../context.ts'
import { echoResponse } from '../echo.ts'
import { CODES } from '../errors/codes.ts'
import { ownResponse } from '../errors/pages.ts'
import { RETRY_AFTER_SECONDS } from '../limits.ts'
import { ClientObserver } from '../observe/client-observer.ts'
import { RateLimiter } from '../rates/rate-limiter.ts'
import { proxyHeader } from '../tcp/proxy-header.ts'
import { HttpConnection } from './connection.ts'
import { cookieOf, setCookie } from './cookies.ts'
import { type HttpPolicy, policyOf, VIA_NAME } from './policy.ts'
import type { RequestHead } from './request-head.ts'
import type { RequestIds } from './request-id.ts'
import { readRouting } from './routing-fields.ts'

export interface PublicOrigin {
  readonly clientAddress: string
  readonly clientPort: number
  /** The app's own address and port that the client connected to. */
  readonly localAddress: string
  readonly localPort: number
  readonly https: boolean
}

/** Finds the route of a request on one connection. */
export interface Resolver {
  resolve(host: string): PortRoute | 'no-app' | 'no-port' | 'echo'
}

/** A connection from the public to an `http` handler. */
export class PublicConnection extends HttpConnection {
  protected readonly trusted = false
  readonly #origin: PublicOrigin
  readonly #resolver: Resolver
  readonly #ids: RequestIds
  /** The fields that are the same for all requests of this connection. */
  readonly #forwardedFor: string
  readonly #fixed: string
  readonly #port: string
  /** The same, joined as most requests need them. */
  readonly #usual: string
  readonly #usualEnd: string
  readonly #prefaceOrigin: string
  #route: PortRoute | null = null
  #policy: HttpPolicy | null = null
  readonly #seen: ClientObserver
  #steering: Steering | null = null
  #limiter: RateLimiter | null = null
  /** Of a sticky service: the machine that the client's cookie names, and the one that it is sent to. */
  #cookieMachine = ''
  #steered = false
  #machine = ''
  #requestId = ''
  #minor = 1
  /** The exchange has the present request. */
  #begun = false
  #toHead = false

  constructor(
    ctx: ProxyContext,
    socket: Socket,
    reader: SocketReader,
    origin: PublicOrigin,
    resolver: Resolver,
    ids: RequestIds,
    /** What the address alone tells: the app of all requests. */
    route: PortRoute | null,
  ) {
    super(ctx, socket, reader)
    this.#origin = origin
    this.#resolver = resolver
    this.#ids = ids
    this.#seen = new ClientObserver(ctx, origin)
    const { clientAddress, localAddress, localPort, https } = origin
    this.#forwardedFor = `${clientAddress}, ${localAddress}\r\n`
    this.#fixed =
      `Fly-Client-IP: ${clientAddress}\r\nX-Forwarded-Proto: ${https ? 'https' : 'http'}\r\n` +
      `X-Forwarded-SSL: ${https ? 'on' : 'off'}\r\nFly-Forwarded-Port: ${localPort}\r\n` +
      `Fly-Region: ${ctx.region}\r\nFly-Request-Id: `
    this.#usual = `X-Forwarded-For: ${this.#forwardedFor}${this.#fixed}`
    this.#port = `X-Forwarded-Port: ${localPort}\r\n`
    this.#usualEnd = `\r\nVia: 1.1 ${VIA_NAME}\r\n${this.#port}`
    this.#prefaceOrigin = prefaceOrigin({ ...origin, region: ctx.region })
    if (route) {
      this.headReadMs = policyOf(route).headReadMs
      this.deadline = ctx.deadlines.now + this.headReadMs
    }
  }

  protected headStart(text: string): number {
    // One empty line before a request is forgiven (RFC 9112 2.2).
    return text.charCodeAt(0) === 13 && text.charCodeAt(1) === 10 ? 2 : 0
  }

  protected onRequest(head: RequestHead, body: Buffer | string): void {
    this.#requestId = this.#ids.next()
    this.#minor = head.minor
    this.#toHead = head.method === 'HEAD'
    this.unwrap = null
    if (head.close) this.closing = true
    const route = this.#resolver.resolve(head.host)
    if (typeof route === 'string') {
      if (route === 'echo') this.#echo(head)
      else this.#onUnknown(route, head.host)
      return
    }
    if (route !== this.#route) {
      this.#route = route
      this.#policy = policyOf(route)
      this.headReadMs = this.#policy.headReadMs
      this.#seen.routed(route, this.#policy)
      this.#limiter = RateLimiter.of(this.ctx, route, this.#origin.clientAddress)
    }
    const policy = this.#policy!
    this.#begun = false
    this.#seen.begin(head, route, this.#requestId)
    if (route.forceHttps && !this.#origin.https) {
      this.#redirect(head)
      return
    }
    if (this.#limiter !== null) {
      const waitMs = this.#limiter.take()
      if (waitMs > 0) {
        this.#refuseRate(route.app, waitMs)
        return
      }
    }
    const steering = head.routing && readRouting(head.routing, this.ctx.view, this.ctx.counters)
    if (steering && 'status' in steering) {
      this.#answer(steering.status, steering.reason)
      return
    }
    this.#steering = policy.sticky === null ? steering : this.#stick(route, head, steering)
    if (route.split !== null) {
      this.#steering ??= new Steering({})
      this.#steering.release = drawRelease(route.split, this.ctx.random())
    }
    if (this.#steering !== null) this.#seen.steered(route, this.#steering)
    this.#begun = true
    this.idleMs = policy.idleMs
    this.deadline = this.ctx.deadlines.now + policy.idleMs
    this.exchange.begin(
      {
        route,
        machine: null,
        steering: this.#steering,
        head: this.#requestHead(head),
        method: head.method,
        idempotent: head.idempotent,
        wantsUpgrade: head.upgrade !== '',
        responseMode: policy.pristine ? 'pristine' : 'public',
        alone: policy.proxyProto !== null || head.upgrade !== '',
        record: this.#seen.record,
      },
      body,
      this.body.done,
    )
  }

  requestText(lease: Lease, head: string, headEnd: string): string {
    const { candidate, via } = lease
    const { endpoint, service } = candidate
    this.#machine = endpoint.machine
    const end = this.#steering === null ? headEnd : this.#unpreferred(endpoint.machine) + headEnd
    if (via === null) {
      const version = this.#policy!.proxyProto
      return (version ? proxyHeader(this.#origin, version) : '') + head + end
    }
    this.ctx.counters.backhaulRequests++
    const target = prefaceTarget(
      this.#steering?.forcedMachine ? 'forced-http' : 'http',
      endpoint.app,
      endpoint.machine,
      service,
      this.#origin.localPort,
    )
    return `${target}${this.#prefaceOrigin}${this.#requestId}\r\n${head}${end}`
  }

  /** To the machine that the client was with, as far as it asks for nothing else. */
  #stick(route: PortRoute, head: RequestHead, asked: Steering | null): Steering | null {
    const { cookie } = this.#policy!.sticky!
    this.#steered = asked !== null
    this.#cookieMachine = this.ctx.stickyTokens.find(route, cookieOf(head.forward, cookie))
    if (this.#cookieMachine === '') return asked
    const steering = asked ?? new Steering({})
    steering.stickyMachine = this.#cookieMachine
    return steering
  }

  /** Says who has served, unless the client knows, or asked for somebody this time. */
  #cookieField(): string {
    const { cookie: name, ttlSeconds: maxAgeSeconds } = this.#policy!.sticky!
    if (this.#machine === this.#cookieMachine || this.#steered) return ''
    const value = this.ctx.stickyTokens.of(this.#machine)
    return setCookie({ name, value, maxAgeSeconds, secure: this.#origin.https })
  }

  /** H9: what the app is told when another machine than the preferred one gets the request. */
  #unpreferred(machine: string): string {
    const preferred = this.#steering!.preferredMachine
    if (preferred === '' || preferred === machine) return ''
    return `Fly-Preferred-Instance-Unavailable: ${preferred}\r\n`
  }

  onAccepted(): void {}

  protected tunnelIdleMs(): number {
    return this.#policy!.tunnelIdleMs
  }

  protected override onEnded(isWhole: boolean): void {
    this.#seen.ended(isWhole, this.received, this.sent)
    if (!isWhole) this.#seen.closed()
  }

  sendFailure(status: 502 | 503 | 504, code: string, message: string): void {
    this.#answer(status, message, code, status === 503 ? RETRY_AFTER : undefined)
  }

  protected refuse(fault: HeadFault, toHead: boolean): void {
    this.#requestId = this.#ids.next()
    this.#toHead = toHead
    this.#answer(fault.status, fault.reason)
  }

  protected interimText(head: ResponseHead): string {
    // RFC 9110 15.2: an HTTP/1.0 client knows no interim response.
    if (this.#minor === 0) return ''
    return `HTTP/1.1 ${head.statusText}\r\n${head.fields}\r\n`
  }

  protected responseText(head: ResponseHead, bodyGoesOn: boolean): string {
    const policy = this.#policy!
    let { fields } = head
    if (policy.removed) fields = withoutFields(fields, policy.removed) + policy.added
    if (policy.sticky !== null) fields += this.#cookieField()
    // RFC 9110 15.5.22: without Upgrade a 426 says nothing.
    if (head.status === 101 || (head.status === 426 && head.upgrade !== ''))
      fields += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`
    if (head.status !== 101) {
      if (head.chunked && this.#minor === 0) fields = this.#unwrapChunks(fields)
      // Without a framing of its own, the body is ended by the connection.
      else if (bodyGoesOn && !head.chunked && head.length < 0) this.closing = true
      if (this.closing) fields += 'Connection: close\r\n'
      else if (this.#minor === 0) fields += 'Connection: keep-alive\r\n'
      if (!head.hasDate && policy.saysDate) fields += `Date: ${new Date().toUTCString()}\r\n`
    }
    this.#seen.responded(head.status, this.exchange.headAt - this.exchange.beganAt, '')
    fields += this.#seen.explainField()
    const start = head.statusText === '200 OK' ? OK_LINE : `HTTP/1.1 ${head.statusText}\r\n`
    const own = head.minor === 1 ? policy.own11 : policy.own10
    if (policy.saysId) return start + fields + own + this.#requestId + HEAD_END
    return `${start}${fields}${own}\r\n`
  }

  // Private

  #requestHead(head: RequestHead): string {
    const { forwardedFor, hasForwardedPort, upgrade, host, minor } = head
    if (forwardedFor === '' && !hasForwardedPort && upgrade === '' && host !== '' && minor === 1)
      return head.forward + this.#usual + this.#requestId + this.#usualEnd
    const list = head.forwardedFor === '' ? '' : `${head.forwardedFor}, `
    let out = `${head.forward}X-Forwarded-For: ${list}${this.#forwardedFor}${this.#fixed}`
    out += `${this.#requestId}\r\nVia: 1.${head.minor} ${VIA_NAME}\r\n`
    if (!head.hasForwardedPort) out += this.#port
    // What goes on is HTTP/1.1, which needs a Host even where HTTP/1.0 sent none.
    if (head.host === '') out += `Host: ${hostOf(this.#origin.localAddress)}\r\n`
    if (head.upgrade !== '') out += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`
    return out
  }

  /** An HTTP/1.0 client knows no chunks: it gets the data alone, ended by the connection. */
  #unwrapChunks(fields: string): string {
    const scanner = new ChunkedScanner()
    const { scratch } = this.ctx
    this.unwrap = (from, to) => {
      const { data } = scratch
      const parts: Buffer[] = []
      scanner.feed(data, from, to, (a, b) => parts.push(Buffer.from(data.subarray(a, b))))
      return Buffer.concat(parts)
    }
    this.closing = true
    return withoutFields(fields, CHUNK_FIELDS)
  }

  #onUnknown(what: 'no-app' | 'no-port', host: string): void {
    // S1: what no service exposes does not exist, to the last octet.
    if (what === 'no-port') {
      this.ctx.counters.connectionsReset++
      breakOff(this.socket)
      return
    }
    this.#answer(404, host === '' ? 'the Host header is missing' : `no app answers to ${host}`)
  }

  #echo(head: RequestHead): void {
    if (!this.body.done || this.ctx.draining) this.closing = true
    const { region, host } = this.ctx
    const { status, text } = echoResponse({
      ...{ method: head.method, target: head.target, fields: head.forward, region, host },
      ...this.#origin,
      ...{ requestId: this.#requestId, close: this.closing },
    })
    this.ctx.counters.requests[(status / 100) | 0]!++
    this.answer(text)
  }

  #refuseRate(app: string, waitMs: number): void {
    const { PL02: message } = CODES
    this.ctx.counters.error('PL02')
    this.ctx.appLog.write({ app, machine: '', level: 'warn', code: 'PL02', message })
    this.#answer(429, message, 'PL02', `Retry-After: ${Math.ceil(waitMs / 1000)}\r\n`)
  }

  /** S10. */
  #redirect(head: RequestHead): void {
    const host = (head.host || hostOf(this.#origin.localAddress)).replace(/:\d*$/, '')
    const location = `https://${host}${head.target === '*' ? '/' : head.target}`
    this.#answer(301, location, undefined, `Location: ${location}\r\n`)
  }

  #answer(status: number, text: string, code?: string, fields?: string): void {
    if (!this.body.done || this.ctx.draining) this.closing = true
    this.ctx.counters.requests[(status / 100) | 0]!++
    const { closing: close } = this
    const toHead = this.#toHead
    // What is answered at once has taken no time.
    const ms = this.#begun ? this.ctx.clock() - this.exchange.beganAt : 0
    this.#seen.responded(status, ms, code ?? '')
    const explained = this.#seen.explainField()
    const all = explained === '' ? fields : explained + (fields ?? '')
    this.answer(
      ownResponse({ status, text, code, fields: all, requestId: this.#requestId, close, toHead }),
    )
  }
}

const RETRY_AFTER = `Retry-After: ${RETRY_AFTER_SECONDS}\r\n`
const OK_LINE = 'HTTP/1.1 200 OK\r\n'
const HEAD_END = '\r\n\r\n'
const CHUNK_FIELDS = new Set(['transfer-encoding', 'trailer'])
const hostOf = (address: string): string => (address.includes(':') ? `[${address}]` : address)
