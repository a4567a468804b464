import {
  contentLength,
  equalsToken,
  listOf,
  NameTable,
  newFieldSpan,
  scanField,
  withoutFields,
} from '../base/http1/fields.ts'
import { badRequest, FAULTS, type HeadFault } from '../base/http1/head-faults.ts'
import * as limits from '../base/http1/limits.ts'
import { newRequestLine, scanRequestLine } from '../base/http1/request-line.ts'
import { type Destination, parseHost } from '../model/destination.ts'

/** What can be wrong with a request to a proxy, besides. */
const OWN_FAULTS = {
  trace: { status: 405, reason: 'TRACE is not served' },
  form: badRequest(
    'this is a proxy: write the target as http://host/path, or CONNECT host:port for everything else',
  ),
  https: badRequest('https:// needs CONNECT; the proxy does not open TLS for its clients'),
  destination: badRequest(
    'the target is not host:port with a host name or an address in its usual form',
  ),
  connectBody: badRequest('CONNECT with Content-Length or Transfer-Encoding'),
  credentialsTwice: badRequest('more than one Proxy-Authorization'),
} as const satisfies Record<string, HeadFault>

const ID = {
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  credentials: 5,
  via: 6,
  /** Hop by hop (RFC 9110, 7.6.1), or of no meaning behind a proxy. */
  dropped: 7,
} as const

const NAMES = new NameTable({
  host: ID.host,
  'content-length': ID.contentLength,
  'transfer-encoding': ID.transferEncoding,
  connection: ID.connection,
  'proxy-authorization': ID.credentials,
  via: ID.via,
  'proxy-connection': ID.connection,
  'keep-alive': ID.dropped,
  te: ID.dropped,
  upgrade: ID.dropped,
  'http2-settings': ID.dropped,
  'proxy-authenticate': ID.dropped,
})
const NOT_NOMINATED = new Set(['host', 'content-length', 'transfer-encoding'])
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
const VIA = '1.1 fairway'

/** One request to a forward proxy (RFC 9112, 3.2.2 and 3.2.3). A worker has a single one. */
export class ProxyHead {
  method = ''
  isConnect = false
  /** Null only when `scan` found a fault. */
  destination: Destination | null = null
  minor = 1
  /** -1: none. */
  length = -1
  chunked = false
  /** The client will send no more requests, or cannot. */
  close = false
  keepAlive10 = false
  /** May be sent twice (RFC 9110, 9.2.2). */
  idempotent = false
  /** The value of Proxy-Authorization, or ''. */
  credentials = ''
  /** Request and field lines for the destination, each with its CRLF; empty for CONNECT. */
  forward = ''

  #octets: Uint8Array = NOTHING
  #text = ''
  #path = ''
  #authority = ''
  #hostSeen = false
  #via = ''
  #keepFrom = 0
  #kept = ''
  #nominated: Set<string> | null = null

  /**
   * Scans the head at octets[from, end), where `end` is the index of the CRLF CRLF that ends it; `text`
   * is the same as a string.
   */
  scan(octets: Uint8Array, text: string, from: number, end: number): HeadFault | null {
    this.#reset(octets, text)
    const lineEnd = text.indexOf('\r\n', from)
    const bad = this.#requestLine(from, lineEnd)
    if (bad) return bad
    this.#keepFrom = lineEnd + 2
    return this.#fields(lineEnd + 2, end + 2) ?? this.#whole(end + 2)
  }

  #reset(octets: Uint8Array, text: string): void {
    this.#octets = octets
    this.#text = text
    this.destination = null
    this.length = -1
    this.chunked = false
    this.close = false
    this.keepAlive10 = false
    this.credentials = ''
    this.forward = ''
    this.#path = ''
    this.#hostSeen = false
    this.#via = ''
    this.#kept = ''
    this.#nominated = null
  }

  #requestLine(from: number, lineEnd: number): HeadFault | null {
    const bad = scanRequestLine(this.#octets, from, lineEnd, LINE)
    if (bad) return bad
    const { methodEnd, targetStart, targetEnd, minor } = LINE
    this.method = this.#text.slice(from, methodEnd)
    this.isConnect = this.method === 'CONNECT'
    this.idempotent = IDEMPOTENT.has(this.method)
    this.minor = minor
    if (this.method === 'TRACE') return OWN_FAULTS.trace
    const target = this.#text.slice(targetStart, targetEnd)
    return this.isConnect ? this.#authorityForm(target) : this.#absoluteForm(target)
  }

  #authorityForm(target: string): HeadFault | null {
    this.destination = parseAuthority(target, 0)
    return this.destination ? null : OWN_FAULTS.destination
  }

  #absoluteForm(target: string): HeadFault | null {
    if (/^https:/i.test(target)) return OWN_FAULTS.https
    if (!/^http:\/\//i.test(target)) return OWN_FAULTS.form
    const rest = target.slice('http://'.length)
    const at = rest.search(/[/?]/)
    this.#authority = at < 0 ? rest : rest.slice(0, at)
    const path = at < 0 ? '' : rest.slice(at)
    // RFC 9112, 3.2.4: OPTIONS of a server as a whole.
    this.#path = path.startsWith('/')
      ? path
      : path === '' && this.method === 'OPTIONS'
        ? '*'
        : `/${path}`
    this.destination = parseAuthority(this.#authority, 80)
    return this.destination ? null : OWN_FAULTS.destination
  }

  #fields(start: number, end: number): HeadFault | null {
    const octets = this.#octets
    let count = 0
    for (let at = start; at < end; ) {
      const next = scanField(octets, at, SPAN)
      if (next < 0) return FAULTS.field
      if (++count > limits.HEADER_COUNT_MAX) return FAULTS.headerCount
      const id = NAMES.idOf(octets, at, SPAN.nameEnd)
      const bad = id === 0 ? null : this.#known(id, at, next)
      if (bad) return bad
      at = next
    }
    return null
  }

  #known(id: number, at: number, next: number): HeadFault | null {
    const text = this.#text
    const octets = this.#octets
    const { valueStart, valueEnd } = SPAN
    switch (id) {
      case ID.contentLength:
        if (this.length >= 0) return FAULTS.lengthTwice
        this.length = contentLength(octets, valueStart, valueEnd)
        return this.length < 0 ? FAULTS.length : null
      case ID.transferEncoding:
        if (this.chunked || valueEnd - valueStart !== 7) return FAULTS.encoding
        this.chunked = equalsToken(octets, valueStart, 'chunked')
        return this.chunked ? null : FAULTS.encoding
      case ID.credentials:
        if (this.credentials !== '') return OWN_FAULTS.credentialsTwice
        this.credentials = text.slice(valueStart, valueEnd)
        break
      case ID.via:
        this.#via += `${text.slice(valueStart, valueEnd)}, `
        break
      // RFC 9112, 3.2.2: replaced by what the target says, whatever it says itself.
      case ID.host:
        if (this.#hostSeen) return FAULTS.hostTwice
        this.#hostSeen = true
        break
      case ID.connection: {
        const bad = this.#connection(text.slice(valueStart, valueEnd))
        if (bad) return bad
      }
    }
    this.#kept += text.slice(this.#keepFrom, at)
    this.#keepFrom = next
    return null
  }

  #connection(value: string): HeadFault | null {
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

  #whole(end: number): HeadFault | null {
    if (this.chunked && this.length >= 0) return FAULTS.bothFramings
    if (this.chunked && this.minor === 0) return FAULTS.encoding
    if (this.minor === 0 && !this.keepAlive10) this.close = true
    if (this.isConnect) return this.chunked || this.length > 0 ? OWN_FAULTS.connectBody : null
    let fields = this.#kept + this.#text.slice(this.#keepFrom, end)
    if (this.#nominated) fields = withoutFields(fields, this.#nominated)
    // An HTTP/1.0 client could not read what the destination would send to a newer one.
    const version = `HTTP/1.${this.minor}`
    this.forward =
      `${this.method} ${this.#path} ${version}\r\nHost: ${this.#authority}\r\n` +
      `${fields}Via: ${this.#via}${VIA}\r\n`
    return null
  }
}

const LINE = newRequestLine()
const SPAN = newFieldSpan()
const NOTHING = new Uint8Array()

/** `host[:port]` without user information; `defaultPort` 0: the port must be there. */
function parseAuthority(text: string, defaultPort: number): Destination | null {
  const match = /^(?:\[([^\]]*)\]|([^:[\]@]*))(?::(\d{1,5}))?$/.exec(text)
  if (!match) return null
  const port = match[3] === undefined ? defaultPort : Number(match[3])
  const host = parseHost(match[1] ?? match[2]!)
  if (!host || port < 1 || port > 65_535) return null
  // Brackets are for IPv6, and IPv6 is for brackets.
  return (host.family === 6) === (match[1] !== undefined) ? { ...host, port } : null
}
