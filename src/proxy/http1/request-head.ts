import { isToken } from '../../base/http1/chars.ts'
import {
  contentLength,
  equalsToken,
  hasLeadingZero,
  isPlain,
  listOf,
  NameTable,
  newFieldSpan,
  scanField,
  trimBlanks,
  withoutFields,
} from '../../base/http1/fields.ts'
import { badRequest, FAULTS, type HeadFault } from '../../base/http1/head-faults.ts'
import { isHost } from '../../base/http1/host.ts'
import { newRequestLine, scanRequestLine } from '../../base/http1/request-line.ts'
import { octetsOf } from '../../base/latin1.ts'
import * as limits from '../limits.ts'
import { newRoutingFields, type RoutingFields } from './routing-fields.ts'

/** What can be wrong with a request for an app, besides. */
const OWN_FAULTS = {
  targetForm: badRequest('the request target is neither a path, nor http://..., nor * for OPTIONS'),
  authority: badRequest('the request target and the Host header name different hosts'),
  // Not 405, which would have to say what the app allows (RFC 9110 15.5.6).
  connect: { status: 501, reason: 'CONNECT is not served here' },
  hostMissing: badRequest('an HTTP/1.1 request needs a Host header'),
  host: badRequest('the Host header is not a host'),
  unknownCoding: { status: 501, reason: 'no transfer coding but "chunked" is known here' },
  expectTwice: badRequest('more than one Expect or Upgrade header'),
} as const satisfies Record<string, HeadFault>

const ID = {
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  upgrade: 5,
  expect: 6,
  forwardedFor: 7,
  forwardedPort: 8,
  preferRegion: 9,
  forceRegion: 10,
  preferInstance: 11,
  forceInstance: 12,
  /** Dropped without a look: hop by hop, or what only the edge may assert. */
  dropped: 13,
  traceparent: 14,
  explain: 15,
} as const

const NAMES = new NameTable({
  host: ID.host,
  'content-length': ID.contentLength,
  'transfer-encoding': ID.transferEncoding,
  connection: ID.connection,
  upgrade: ID.upgrade,
  expect: ID.expect,
  'x-forwarded-for': ID.forwardedFor,
  'x-forwarded-port': ID.forwardedPort,
  'fly-prefer-region': ID.preferRegion,
  'fly-force-region': ID.forceRegion,
  'fly-prefer-instance-id': ID.preferInstance,
  'fly-force-instance-id': ID.forceInstance,
  traceparent: ID.traceparent,
  'fairway-explain': ID.explain,
  'keep-alive': ID.dropped,
  'proxy-connection': ID.dropped,
  // H15; also a promise about trailers that is ours to make to the app, not the client's.
  te: ID.dropped,
  'http2-settings': ID.dropped,
  'x-forwarded-proto': ID.dropped,
  'x-forwarded-ssl': ID.dropped,
  'fly-client-ip': ID.dropped,
  'fly-forwarded-port': ID.dropped,
  'fly-forwarded-proto': ID.dropped,
  'fly-forwarded-ssl': ID.dropped,
  'fly-region': ID.dropped,
  'fly-request-id': ID.dropped,
  'fly-preferred-instance-unavailable': ID.dropped,
  'fly-replay-src': ID.dropped,
  'fly-replay-failed': ID.dropped,
  'fly-replay-cache-status': ID.dropped,
})
const ROUTING: Readonly<Record<number, keyof RoutingFields>> = {
  [ID.preferRegion]: 'preferRegion',
  [ID.forceRegion]: 'forceRegion',
  [ID.preferInstance]: 'preferInstance',
  [ID.forceInstance]: 'forceInstance',
}
/** Must reach the app once and as they are, so no Connection header may take them away. */
const NOT_NOMINATED = new Set(['host', 'content-length', 'transfer-encoding', 'expect'])

/** Methods that may be sent twice (RFC 9110 9.2.2). */
const IDEMPOTENT = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']

/**
 * One request head. A worker has a single one and reads it before the next scan, so that a request
 * costs no object.
 */
export class RequestHead {
  method = ''
  /** Origin form (or `*`). */
  target = ''
  /** Minor version of HTTP/1. */
  minor = 1
  /** As sent, or '' when an HTTP/1.0 request has none. */
  host = ''
  /** -1: none. */
  length = -1
  chunked = false
  /** The client will send no more requests, or cannot. */
  close = false
  /** An HTTP/1.0 client asked to keep the connection. */
  keepAlive10 = false
  /** The protocol asked for, or ''. */
  upgrade = ''
  expectContinue = false
  forwardedFor = ''
  hasForwardedPort = false
  idempotent = false
  /** What the client asks for in routing headers; null when it has none. */
  routing: RoutingFields | null = null
  /** As sent, or ''; several are none (W3C Trace Context 3.2). */
  traceparent = ''
  /** The token that an operator shows for an explanation, or ''; never passed on. */
  explain = ''
  /**
   * What goes on: request line and field lines, without hop-by-hop ones and (unless trusted)
   * without what only an edge asserts. Ends with CRLF; the empty line is not in it.
   */
  forward = ''

  #octets: Uint8Array = NOTHING
  #text = ''
  #keepFrom = 0
  #nominated: Set<string> | null = null
  #trusted = false
  #hasExpect = false
  #hasUpgrade = false

  /**
   * Scans the head at octets[from, end), where `end` is the index of the CRLF CRLF that ends it; `text`
   * is the same as a string.
   * `trusted`: the head comes from another edge, which has added to it; its fields are passed on as
   * they are.
   */
  scan(
    octets: Uint8Array,
    text: string,
    from: number,
    end: number,
    trusted: boolean,
  ): HeadFault | null {
    if (end < from) return FAULTS.line
    const bytesMax = limits.HEAD_BYTES_MAX + (trusted ? limits.ADDED_BYTES_MAX : 0)
    if (end - from > bytesMax) return FAULTS.headBytes
    this.#reset(octets, text, from, trusted)
    const lineEnd = text.indexOf('\r\n', from)
    const bad = this.#requestLine(from, lineEnd) ?? this.#fields(lineEnd + 2, end + 2)
    if (bad) return bad
    this.forward += text.slice(this.#keepFrom, end + 2)
    return this.#whole()
  }

  #reset(octets: Uint8Array, text: string, from: number, trusted: boolean): void {
    this.#octets = octets
    this.#text = text
    this.#keepFrom = from
    this.#nominated = null
    this.#trusted = trusted
    this.minor = 1
    this.host = ''
    this.length = -1
    this.chunked = false
    this.close = false
    this.keepAlive10 = false
    this.upgrade = ''
    this.expectContinue = false
    this.#hasExpect = false
    this.#hasUpgrade = false
    this.forwardedFor = ''
    this.hasForwardedPort = false
    this.routing = null
    this.traceparent = ''
    this.explain = ''
    this.forward = ''
  }

  #requestLine(from: number, lineEnd: number): HeadFault | null {
    const bad = scanRequestLine(this.#octets, from, lineEnd, LINE)
    if (bad) return bad
    this.#setMethod(this.#text, from, LINE.methodEnd)
    this.target = this.#text.slice(LINE.targetStart, LINE.targetEnd)
    this.minor = LINE.minor
    return this.#target(lineEnd)
  }

  #setMethod(text: string, from: number, to: number): void {
    for (const method of IDEMPOTENT)
      if (to - from === method.length && text.startsWith(method, from)) {
        this.method = method
        this.idempotent = true
        return
      }
    this.method = text.slice(from, to)
    this.idempotent = false
  }

  /** Brings the target to origin form (RFC 9112 3.2). */
  #target(lineEnd: number): HeadFault | null {
    const target = this.target
    const slash = target.charCodeAt(0) === 47
    if (slash && this.minor === 1) return this.method === 'CONNECT' ? OWN_FAULTS.connect : null
    if (this.method === 'CONNECT') return OWN_FAULTS.connect
    if (!slash && !(target === '*' && this.method === 'OPTIONS')) {
      const scheme = /^https?:\/\//i.exec(target)
      if (!scheme) return OWN_FAULTS.targetForm
      const rest = target.slice(scheme[0].length)
      const authority = /^[^/?]*/.exec(rest)![0]
      if (!isHost(octetsOf(authority), authority, 0, authority.length)) return OWN_FAULTS.targetForm
      const path = rest.slice(authority.length)
      // RFC 9112 3.2.4: a server as a whole has no path.
      if (path === '' && this.method === 'OPTIONS') this.target = '*'
      else this.target = path.startsWith('/') ? path : `/${path}`
      this.host = authority
    }
    // We speak for ourselves in the message that goes on, so its version is ours (RFC 9110 2.5).
    this.forward = `${this.method} ${this.target} HTTP/1.1\r\n`
    this.#keepFrom = lineEnd + 2
    return null
  }

  #fields(start: number, end: number): HeadFault | null {
    const octets = this.#octets
    const targetHost = this.host
    this.host = ''
    const headersMax = limits.HEADER_COUNT_MAX + (this.#trusted ? limits.ADDED_HEADERS_MAX : 0)
    let count = 0
    for (let at = start; at < end; ) {
      const next = scanField(octets, at, SPAN)
      if (next < 0) return FAULTS.field
      if (++count > headersMax) return FAULTS.headerCount
      const id = NAMES.idOf(octets, at, SPAN.nameEnd)
      if (id !== 0) {
        const bad = this.#known(id, at, next)
        if (bad) return bad
      } else if (!this.#trusted && NAMES.aliasOf(octets, at, SPAN.nameEnd) !== 0) {
        this.#drop(at, next)
      }
      at = next
    }
    if (targetHost === '') return null
    if (this.host === '' && this.minor === 0) this.#addHost(targetHost)
    return targetHost.toLowerCase() === this.host.toLowerCase() ? null : OWN_FAULTS.authority
  }

  /** The target that goes on no longer says it. */
  #addHost(host: string): void {
    const fields = this.forward.indexOf('\r\n') + 2
    this.forward = `${this.forward.slice(0, fields)}Host: ${host}\r\n${this.forward.slice(fields)}`
    this.host = host
  }

  #drop(at: number, next: number): void {
    this.forward += this.#text.slice(this.#keepFrom, at)
    this.#keepFrom = next
  }

  #known(id: number, at: number, next: number): HeadFault | null {
    const text = this.#text
    const octets = this.#octets
    const { valueStart, valueEnd } = SPAN
    switch (id) {
      case ID.host:
        if (this.host !== '') return FAULTS.hostTwice
        if (!isHost(octets, text, valueStart, valueEnd)) return OWN_FAULTS.host
        this.host = text.slice(valueStart, valueEnd)
        if (!isPlain(octets, SPAN, next)) this.#respell(next, this.host)
        return null
      case ID.contentLength:
        if (this.length >= 0) return FAULTS.lengthTwice
        this.length = contentLength(octets, valueStart, valueEnd)
        if (this.length < 0) return FAULTS.length
        if (!isPlain(octets, SPAN, next) || hasLeadingZero(octets, valueStart, valueEnd))
          this.#respell(next, String(this.length))
        return null
      case ID.transferEncoding:
        return this.#coding(valueStart, valueEnd, next)
      case ID.expect:
        if (this.#hasExpect) return OWN_FAULTS.expectTwice
        this.#hasExpect = true
        this.expectContinue = text.slice(valueStart, valueEnd).toLowerCase() === '100-continue'
        // An HTTP/1.0 client cannot wait for an interim response (RFC 9110 10.1.1).
        if (this.minor === 0) this.#drop(at, next)
        return null
      default:
        return this.#rewritten(id, at, next, text.slice(valueStart, valueEnd))
    }
  }

  /**
   * What frames or routes goes on in its one plain spelling, since whoever reads it less carefully would
   * take another one for something else.
   */
  #respell(next: number, value: string): void {
    this.forward += `${this.#text.slice(this.#keepFrom, SPAN.nameEnd)}: ${value}\r\n`
    this.#keepFrom = next
  }

  #coding(start: number, end: number, next: number): HeadFault | null {
    const text = this.#text
    const octets = this.#octets
    if (this.chunked) return FAULTS.encoding
    if (end - start === CHUNKED.length && equalsToken(octets, start, CHUNKED)) {
      this.chunked = true
      if (!isPlain(octets, SPAN, next) || !text.startsWith(CHUNKED, start))
        this.#respell(next, CHUNKED)
      return null
    }
    return endsWithChunked(text.slice(start, end)) ? OWN_FAULTS.unknownCoding : FAULTS.encoding
  }

  /** Fields that the edge replaces or takes away; between edges only their meaning is read. */
  #rewritten(id: number, at: number, next: number, value: string): HeadFault | null {
    if (id === ID.connection) {
      const bad = this.#connection(value)
      if (bad) return bad
    } else if (id === ID.upgrade) {
      if (this.#hasUpgrade) return OWN_FAULTS.expectTwice
      this.#hasUpgrade = true
      this.upgrade = value
    } else if (id === ID.forwardedFor) {
      this.forwardedFor += this.forwardedFor === '' ? value : `, ${value}`
    } else if (id === ID.traceparent) {
      this.traceparent = this.traceparent === '' ? value : SEVERAL
      return null
    } else if (id === ID.explain) {
      this.explain = value
    } else if (id === ID.forwardedPort) {
      this.hasForwardedPort = true
      return null
    } else if (id < ID.dropped) {
      this.#routing(id, value)
      return null
    }
    if (!this.#trusted) this.#drop(at, next)
    return null
  }

  /** The app sees them too. A field that comes twice is one list (RFC 9110 5.3). */
  #routing(id: number, value: string): void {
    this.routing ??= newRoutingFields()
    const name = ROUTING[id]!
    this.routing[name] += this.routing[name] === '' ? value : `,${value}`
  }

  #connection(value: string): HeadFault | null {
    if (value === 'keep-alive') {
      this.keepAlive10 = true
      return null
    }
    for (const option of listOf(value)) {
      if (option === 'close') this.close = true
      else if (option === 'keep-alive') this.keepAlive10 = true
      else {
        this.#nominated ??= new Set()
        this.#nominated.add(option)
        if (this.#nominated.size > limits.CONNECTION_OPTIONS_MAX) return FAULTS.headerCount
        if (NOT_NOMINATED.has(option)) return FAULTS.nominated
      }
    }
    return null
  }

  /** What only the fields together can tell. */
  #whole(): HeadFault | null {
    if (this.chunked && this.length >= 0) return FAULTS.bothFramings
    // RFC 9112 6.1: a message of HTTP/1.0 with Transfer-Encoding has faulty framing.
    if (this.chunked && this.minor === 0) return FAULTS.encoding
    if (this.host === '' && this.minor === 1) return OWN_FAULTS.hostMissing
    if (this.minor === 0) {
      this.close = this.close || !this.keepAlive10
      this.upgrade = ''
    }
    const nominated = this.#nominated
    if (!nominated) {
      this.upgrade = ''
      return null
    }
    // Upgrade counts only when Connection lists it (RFC 9110 7.8). h2c would let a client speak
    // to the app in frames that nobody here has looked at.
    if (!nominated.delete('upgrade') || /(^|,)\s*h2c?\s*(,|$)/i.test(this.upgrade))
      this.upgrade = ''
    if (this.#trusted || nominated.size === 0) return null
    if (nominated.has('x-forwarded-port')) this.hasForwardedPort = false
    const lines = this.forward.indexOf('\r\n') + 2
    this.forward =
      this.forward.slice(0, lines) + withoutFields(this.forward.slice(lines), nominated)
    return null
  }
}

/** No valid value of anything. */
const SEVERAL = ','

const LINE = newRequestLine()
const SPAN = newFieldSpan()
const NOTHING = new Uint8Array()

const CHUNKED = 'chunked'

/** Other codings and then chunked: framed, but in a way unknown here (RFC 9112 6.1 and 6.3). */
function endsWithChunked(value: string): boolean {
  const codings = value.toLowerCase().split(',').map(trimBlanks)
  const others = codings.slice(0, -1).map((coding) => trimBlanks(coding.split(';', 1)[0]!))
  return codings.at(-1) === CHUNKED && others.every((name) => isToken(name) && name !== CHUNKED)
}
