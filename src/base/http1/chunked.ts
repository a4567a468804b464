import { CHAR_CLASS, COLON, CR, FIELD, HEX, LF, TOKEN } from './chars.ts'
import * as limits from './limits.ts'

/** Where the scanner stands between two octets. */
const S = {
  sizeFirst: 0,
  size: 1,
  sizeLf: 2,
  data: 3,
  dataCr: 4,
  dataLf: 5,
  trailerFirst: 6,
  trailerName: 7,
  trailerValue: 8,
  trailerLf: 9,
  endLf: 10,
  done: 11,
  // An extension's name and value: one octet of each, and then more of it.
  extName: 12,
  extNameMore: 13,
  extValue: 14,
  extToken: 15,
  extQuoted: 16,
  extEscaped: 17,
  extEnd: 18,
} as const

const BAD_EXTENSION = 'a chunk extension is malformed'
const QUOTE = 34
const SEMICOLON = 59
const EQUALS = 61
const BACKSLASH = 92
/** 52 bits: a size stays an exact number. */
const SIZE_DIGITS_MAX = 13
const TRAILER_NAME_BYTES_MAX = 128
/** A trailer that frames or routes could be taken for a header by whoever merges the two. */
const TRAILERS_REFUSED =
  /^(transfer-encoding|content-length|host|connection|upgrade|trailer|te|x-forwarded-.*|fly-.*)$/

/** Gets [from, to) of a run of body data, without the framing. */
export type OnData = (from: number, to: number) => void

/**
 * Validates a chunked body (RFC 9112 7.1) while it streams through unchanged. Strict: CRLF only, no
 * white space around a size, bounded extensions and trailers.
 */
export class ChunkedScanner {
  /** Why the body is malformed, or null. */
  fault: string | null = null
  limit: limits.MessageLimit | null = null
  #state: number = S.sizeFirst
  #left = 0
  #digits = 0
  #extensionBytes = 0
  #trailerBytes = 0
  #trailerName = ''

  reset(): void {
    this.fault = null
    this.limit = null
    this.#state = S.sizeFirst
    this.#left = 0
    this.#digits = 0
    this.#extensionBytes = 0
    this.#trailerBytes = 0
    this.#trailerName = ''
  }

  /**
   * Reads data[from, to). Returns the index after the body's last octet, `to` when it goes on (see
   * `done`), or -1 with `fault` set.
   */
  feed(data: Uint8Array, from: number, to: number, onData?: OnData): number {
    let i = from
    while (i < to && this.#state !== S.done) {
      if (this.#state === S.data) {
        const run = Math.min(this.#left, to - i)
        onData?.(i, i + run)
        this.#left -= run
        i += run
        if (this.#left === 0) this.#state = S.dataCr
        continue
      }
      const bad = this.#octet(data[i]!)
      if (bad !== null) {
        this.fault = bad
        return -1
      }
      i++
    }
    return i
  }

  get done(): boolean {
    return this.#state === S.done
  }

  #octet(c: number): string | null {
    switch (this.#state) {
      case S.sizeFirst:
      case S.size:
        return this.#size(c)
      case S.sizeLf:
        if (c !== LF) return 'a chunk size is not ended by CRLF'
        this.#state = this.#left === 0 ? S.trailerFirst : S.data
        return null
      case S.dataCr:
        this.#state = S.dataLf
        return c === CR ? null : 'a chunk is longer than its size'
      case S.dataLf:
        this.#state = S.sizeFirst
        return c === LF ? null : 'a chunk is not ended by CRLF'
      default:
        return this.#state >= S.extName ? this.#extension(c) : this.#trailer(c)
    }
  }

  #size(c: number): string | null {
    if ((CHAR_CLASS[c]! & HEX) !== 0) {
      if (this.#state === S.sizeFirst) this.#digits = 0
      if (++this.#digits > SIZE_DIGITS_MAX) return 'a chunk size is too large'
      this.#state = S.size
      this.#left = this.#left * 16 + (c <= 57 ? c - 48 : (c | 32) - 87)
      return null
    }
    if (this.#state === S.sizeFirst) return 'a chunk size is missing'
    if (c === CR) this.#state = S.sizeLf
    else if (c === SEMICOLON) this.#state = S.extName
    else return 'a chunk size is not a hexadecimal number'
    return null
  }

  /** `;name`, `;name=token` or `;name="quoted"`, without white space anywhere. */
  #extension(c: number): string | null {
    if (++this.#extensionBytes > limits.CHUNK_EXTENSION_BYTES_MAX) {
      this.limit = 'chunk_extension_bytes'
      return 'chunk extensions are too long'
    }
    switch (this.#state) {
      case S.extName:
      case S.extValue:
        if (c === QUOTE && this.#state === S.extValue) this.#state = S.extQuoted
        else if ((CHAR_CLASS[c]! & TOKEN) === 0) return BAD_EXTENSION
        else this.#state++
        return null
      case S.extQuoted:
        if (c === QUOTE) this.#state = S.extEnd
        else if (c === BACKSLASH) this.#state = S.extEscaped
        else if ((CHAR_CLASS[c]! & FIELD) === 0) return BAD_EXTENSION
        return null
      case S.extEscaped:
        this.#state = S.extQuoted
        return (CHAR_CLASS[c]! & FIELD) === 0 ? BAD_EXTENSION : null
      default:
        return this.#extensionGoesOn(c)
    }
  }

  /** After a name, after a token, or after the end of a quoted string. */
  #extensionGoesOn(c: number): string | null {
    if (c === CR) this.#state = S.sizeLf
    else if (c === SEMICOLON) this.#state = S.extName
    else if (c === EQUALS && this.#state === S.extNameMore) this.#state = S.extValue
    else if (this.#state === S.extEnd || (CHAR_CLASS[c]! & TOKEN) === 0) return BAD_EXTENSION
    return null
  }

  #trailer(c: number): string | null {
    if (++this.#trailerBytes > limits.TRAILER_BYTES_MAX) {
      this.limit = 'trailer_bytes'
      return 'trailers are too long'
    }
    switch (this.#state) {
      case S.trailerFirst:
        if (c === CR) {
          this.#state = S.endLf
          return null
        }
        this.#trailerName = ''
        this.#state = S.trailerName
        return this.#nameOctet(c)
      case S.trailerName:
        return this.#nameOctet(c)
      case S.trailerValue:
        if (c === CR) this.#state = S.trailerLf
        else if ((CHAR_CLASS[c]! & FIELD) === 0) return 'a trailer has a control character'
        return null
      case S.trailerLf:
        this.#state = S.trailerFirst
        return c === LF ? null : 'a trailer is not ended by CRLF'
      default:
        this.#state = S.done
        return c === LF ? null : 'a chunked body is not ended by CRLF'
    }
  }

  #nameOctet(c: number): string | null {
    if (c === COLON && this.#trailerName !== '') {
      this.#state = S.trailerValue
      const name = this.#trailerName.toLowerCase().replaceAll('_', '-')
      return TRAILERS_REFUSED.test(name) ? `the trailer ${name} is not allowed` : null
    }
    if ((CHAR_CLASS[c]! & TOKEN) === 0 || this.#trailerName.length >= TRAILER_NAME_BYTES_MAX)
      return 'a trailer is malformed'
    this.#trailerName += String.fromCharCode(c)
    return null
  }
}
