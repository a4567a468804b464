import { CHAR_CLASS, CR, FIELD, SP } from './chars.ts'
import {
  contentLength,
  hasLeadingZero,
  isPlain,
  listOf,
  NameTable,
  newFieldSpan,
  scanField,
  withoutFields,
} from './fields.ts'
import * as limits from './limits.ts'

const ID = {
  contentLength: 1,
  transferEncoding: 2,
  connection: 3,
  upgrade: 4,
  date: 5,
  dropped: 6,
  server: 7,
  requestId: 8,
} as const

const NAMES = new NameTable({
  'content-length': ID.contentLength,
  'transfer-encoding': ID.transferEncoding,
  connection: ID.connection,
  upgrade: ID.upgrade,
  date: ID.date,
  'keep-alive': ID.dropped,
  // An explanation is the edge's word alone.
  'fairway-explain': ID.dropped,
  'proxy-connection': ID.dropped,
  server: ID.server,
  'fly-request-id': ID.requestId,
})

/** How much of an app's own fields the edge leaves alone. */
export type ResponseMode =
  /** The edge's `Server` and `Fly-Request-Id` replace the app's. */
  | 'public'
  /** S25, and from another edge: they stay. */
  | 'pristine'

/** One response head; a worker has a single one (see RequestHead). */
export class ResponseHead {
  status = 0
  minor = 1
  /** -1: none. */
  length = -1
  chunked = false
  /** The app will not keep the connection. */
  close = false
  upgrade = ''
  hasDate = false
  /** Field lines that go on, each with its CRLF. */
  fields = ''
  /** Status code and reason: `200 OK`. */
  statusText = ''

  #octets: Uint8Array = NOTHING
  #text = ''
  #keepFrom = 0
  #keepAlive = false
  #lengthSeen = false
  #nominated: Set<string> | null = null
  #mode: ResponseMode = 'public'
  #headersMax = limits.HEADER_COUNT_MAX

  /**
   * Scans the head at octets[from, end), which is followed by CRLF CRLF; `text` is the same as a string.
   * `trusted`: another edge has added to it. Returns why it is not one, or null.
   */
  scan(
    octets: Uint8Array,
    text: string,
    from: number,
    end: number,
    mode: ResponseMode,
    trusted: boolean,
  ): string | null {
    this.#octets = octets
    this.#text = text
    this.#mode = mode
    this.#headersMax = limits.HEADER_COUNT_MAX + (trusted ? limits.ADDED_HEADERS_MAX : 0)
    this.#keepAlive = false
    this.#lengthSeen = false
    this.#nominated = null
    this.length = -1
    this.chunked = false
    this.close = false
    this.upgrade = ''
    this.hasDate = false
    this.fields = ''
    const lineEnd = text.indexOf('\r\n', from)
    const bad = this.#statusLine(from, lineEnd)
    if (bad) return bad
    this.#keepFrom = lineEnd + 2
    return this.#scanFields(lineEnd + 2, end + 2) ?? this.#whole(end + 2)
  }

  #statusLine(from: number, lineEnd: number): string | null {
    const text = this.#text
    const octets = this.#octets
    if (lineEnd - from < 12 || !text.startsWith(VERSION, from)) return 'not an HTTP/1 response'
    this.minor = octets[from + 7]! - 48
    if (this.minor !== 0 && this.minor !== 1) return 'not an HTTP/1 response'
    let status = 0
    for (let i = from + 9; i < from + 12; i++) {
      const digit = octets[i]! - 48
      if (digit < 0 || digit > 9) return 'the status is not three digits'
      status = status * 10 + digit
    }
    if (octets[from + 8] !== SP || status < 100) return 'the status line is malformed'
    if (lineEnd > from + 12 && octets[from + 12] !== SP) return 'the status line is malformed'
    for (let i = from + 12; i < lineEnd; i++)
      if ((CHAR_CLASS[octets[i]!]! & FIELD) === 0) return 'the status line is malformed'
    this.status = status
    // The usual one as a constant: nothing to slice, and compared by its address.
    this.statusText = text.startsWith(OK, from + 9) ? '200 OK' : text.slice(from + 9, lineEnd)
    // RFC 9112 4: the space stays even without a reason.
    if (lineEnd === from + 12) this.statusText += ' '
    return null
  }

  #scanFields(start: number, end: number): string | null {
    const octets = this.#octets
    let count = 0
    for (let at = start; at < end; ) {
      const next = scanField(octets, at, SPAN)
      if (next < 0) return 'a header line is malformed'
      if (++count > this.#headersMax) return 'too many header lines'
      const id = NAMES.idOf(octets, at, SPAN.nameEnd)
      if (id !== 0) {
        const bad = this.#known(id, at, next)
        if (bad) return bad
      }
      at = next
    }
    return null
  }

  #known(id: number, at: number, next: number): string | null {
    const text = this.#text
    const octets = this.#octets
    const { valueStart, valueEnd } = SPAN
    switch (id) {
      case ID.contentLength:
        if (this.#lengthSeen) return 'more than one Content-Length'
        this.#lengthSeen = true
        this.length = contentLength(octets, valueStart, valueEnd)
        if (this.length < 0) return 'Content-Length is not one number'
        if (!isPlain(octets, SPAN, next) || hasLeadingZero(octets, valueStart, valueEnd))
          this.#respell(next, String(this.length))
        return null
      case ID.transferEncoding:
        if (this.chunked || text.slice(valueStart, valueEnd).toLowerCase() !== 'chunked')
          return 'Transfer-Encoding is not exactly "chunked"'
        this.chunked = true
        if (!isPlain(octets, SPAN, next) || !text.startsWith('chunked', valueStart))
          this.#respell(next, 'chunked')
        return null
      case ID.date:
        this.hasDate = true
        return null
      case ID.connection:
        this.#connection(text.slice(valueStart, valueEnd))
        break
      case ID.upgrade:
        this.upgrade = text.slice(valueStart, valueEnd)
        break
      case ID.server:
      case ID.requestId:
        if (this.#mode !== 'public') return null
        break
    }
    this.fields += text.slice(this.#keepFrom, at)
    this.#keepFrom = next
    return null
  }

  /** As for requests: clients, too, differ in what they take for a framing. */
  #respell(next: number, value: string): void {
    this.fields += `${this.#text.slice(this.#keepFrom, SPAN.nameEnd)}: ${value}\r\n`
    this.#keepFrom = next
  }

  #connection(value: string): void {
    if (value === 'keep-alive') {
      this.#keepAlive = true
      return
    }
    for (const option of listOf(value)) {
      if (option === 'close') this.close = true
      else if (option === 'keep-alive') this.#keepAlive = true
      else if (option !== 'upgrade') {
        this.#nominated ??= new Set()
        this.#nominated.add(option)
      }
    }
  }

  #whole(end: number): string | null {
    this.fields += this.#text.slice(this.#keepFrom, end)
    if (this.chunked && this.length >= 0) return 'Content-Length and Transfer-Encoding together'
    if (this.chunked && this.minor === 0) return 'Transfer-Encoding in an HTTP/1.0 response'
    if (this.minor === 0 && !this.#keepAlive) this.close = true
    if ((this.#lengthSeen || this.chunked) && (this.status < 200 || this.status === 204))
      this.#unframe()
    const nominated = this.#nominated
    if (!nominated) return null
    if (nominated.has('content-length') || nominated.has('transfer-encoding'))
      return 'the Connection header lists a header that frames the response'
    this.fields = withoutFields(this.fields, nominated)
    return null
  }

  /** RFC 9112 6.1, 9110 8.6: whoever believed these fields would take the next response for a body. */
  #unframe(): void {
    this.fields = withoutFields(this.fields, FRAMING)
    this.length = -1
    this.chunked = false
  }
}

/**
 * Whether `text` cannot become a response head, however it goes on. What lies before `from` has been
 * looked at already.
 */
export function isHopeless(text: string, from: number): boolean {
  if (from < VERSION.length && !VERSION.startsWith(text.slice(0, VERSION.length))) return true
  for (let i = text.indexOf('\n', from); i >= 0; i = text.indexOf('\n', i + 1))
    if (text.charCodeAt(i - 1) !== CR) return true
  return false
}

const VERSION = 'HTTP/1.'
const OK = '200 OK\r\n'
const FRAMING = new Set(['content-length', 'transfer-encoding'])
const SPAN = newFieldSpan()
const NOTHING = new Uint8Array()

/** No body, whatever the fields say (RFC 9112 6.3). */
export const isBodiless = (status: number, toHead: boolean): boolean =>
  toHead || status < 200 || status === 204 || status === 304
