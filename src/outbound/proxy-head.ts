import { CHAR_CLASS, SP, TARGET, TOKEN } from '../base/http1/chars.ts'
import {
  contentLength,
  equalsToken,
  listOf,
  NameTable,
  newFieldSpan,
  scanField,
  withoutFields,
} from '../base/http1/fields.ts'
import { BAD_LINE, type HeadFault } from '../base/http1/head-buffer.ts'
import * as limits from '../base/http1/limits.ts'
import { type Destination, parseHost } from '../model/destination.ts'

const fault = (reason: string): HeadFault => ({ status: 400, reason })

const FAULTS = {
  method: fault('the method is not a token'),
  trace: { status: 405, reason: 'TRACE is not served' },
  target: fault('the request target has a character that must be percent-encoded'),
  form: fault(
    'this is a proxy: write the target as http://host/path, or CONNECT host:port for everything else',
  ),
  https: fault('https:// needs CONNECT; the proxy does not open TLS for its clients'),
  destination: fault(
    'the target is not host:port with a host name or an address in its usual form',
  ),
  version: { status: 505, reason: 'only HTTP/1.0 and HTTP/1.1 are spoken here' },
  field: fault('a header line is malformed'),
  hostTwice: fault('more than one Host header'),
  length: fault('Content-Length is not one number'),
  lengthTwice: fault('more than one Content-Length'),
  encoding: fault('Transfer-Encoding is not exactly "chunked"'),
  bothFramings: fault('Content-Length and Transfer-Encoding together'),
  connectBody: fault('CONNECT with Content-Length or Transfer-Encoding'),
  credentialsTwice: fault('more than one Proxy-Authorization'),
  nominated: fault('the Connection header lists a header that frames or routes the request'),
  targetBytes: { status: 414, reason: 'the request target is too long', limit: 'target_bytes' },
  headerCount: { status: 431, reason: 'too many header lines', limit: 'header_count' },
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
    const text = this.#text
    const octets = this.#octets
    let i = from
    let c = octets[i]!
    while ((CHAR_CLASS[c]! & TOKEN) !== 0) c = octets[++i]!
    if (c !== SP || i === from || i - from > limits.METHOD_BYTES_MAX) return FAULTS.method
    this.method = text.slice(from, i)
    this.isConnect = this.method === 'CONNECT'
    this.idempotent = IDEMPOTENT.has(this.method)
    if (this.method === 'TRACE') return FAULTS.trace
    const start = ++i
    c = octets[i]!
    while ((CHAR_CLASS[c]! & TARGET) !== 0) c = octets[++i]!
    if (i - start > limits.TARGET_BYTES_MAX) return FAULTS.targetBytes
    if (c !== SP) return c > 0x20 ? FAULTS.target : BAD_LINE
    const bad = this.#version(i + 1, lineEnd)
    if (bad) return bad
    return this.isConnect ? this.#authorityForm(start, i) : this.#absoluteForm(start, i)
  }

  #version(at: number, lineEnd: number): HeadFault | null {
    const octets = this.#octets
    if (lineEnd - at !== 8 || !this.#text.startsWith('HTTP/', at)) return BAD_LINE
    if (octets[at + 6] !== 46) return BAD_LINE
    const minor = octets[at + 7]! - 48
    if (octets[at + 5] !== 49 || (minor !== 0 && minor !== 1)) return FAULTS.version
    this.minor = minor
    return null
  }

  #authorityForm(start: number, end: number): HeadFault | null {
    this.destination = parseAuthority(this.#text.slice(start, end), 0)
    return this.destination ? null : FAULTS.destination
  }

  #absoluteForm(start: number, end: number): HeadFault | null {
    const target = this.#text.slice(start, end)
    if (/^https:/i.test(target)) return FAULTS.https
    if (!/^http:\/\//i.test(target)) return FAULTS.form
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
    return this.destination ? null : FAULTS.destination
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
        if (this.credentials !== '') return FAULTS.credentialsTwice
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
    if (this.isConnect) return this.chunked || this.length > 0 ? FAULTS.connectBody : null
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
