import { octetsOf } from '../latin1.ts'
import { CHAR_CLASS, COLON, CR, FIELD, HTAB, HYPHEN, LF, SP, TOKEN, UNDERSCORE } from './chars.ts'

/*
 * Fields are scanned as the octets that they are, which takes half the time that it does in a string;
 * `text` beside `octets` is the same as a string, character for octet, for what is cut out of it.
 */

/** Where one field line lies in a head. Reused from line to line, so that a scan allocates nothing. */
export interface FieldSpan {
  nameEnd: number
  valueStart: number
  /** Without trailing white space. */
  valueEnd: number
}

export const newFieldSpan = (): FieldSpan => ({ nameEnd: 0, valueStart: 0, valueEnd: 0 })

/**
 * Scans the field line that begins at `at` and returns where the next one begins, or -1 when it is
 * not one: no token before the colon (which covers obs-fold and white space before the colon, RFC
 * 9112 5.1 and 5.2), a control character, or CR or LF alone.
 */
export function scanField(octets: Uint8Array, at: number, span: FieldSpan): number {
  let i = at
  let c = octets[i]!
  while ((CHAR_CLASS[c]! & TOKEN) !== 0) c = octets[++i]!
  if (c !== COLON || i === at) return -1
  span.nameEnd = i
  c = octets[++i]!
  while (c === SP || c === HTAB) c = octets[++i]!
  span.valueStart = i
  while ((CHAR_CLASS[c]! & FIELD) !== 0) c = octets[++i]!
  if (c !== CR || octets[i + 1] !== LF) return -1
  const next = i + 2
  while (i > span.valueStart && isBlank(octets[i - 1]!)) i--
  span.valueEnd = i
  return next
}

/**
 * Whether nothing but one space (or none) stands between colon, value and CRLF. All else is allowed too
 * (RFC 9110 5.5), but there are servers to whom a tab is part of the value.
 */
export function isPlain(octets: Uint8Array, span: FieldSpan, next: number): boolean {
  const blanks = span.valueStart - span.nameEnd - 1
  if (span.valueEnd !== next - 2) return false
  return blanks === 0 || (blanks === 1 && octets[span.valueStart - 1] === SP)
}

const isBlank = (c: number): boolean => c === SP || c === HTAB

/**
 * Names to recognise, as small numbers above 0. First letter and length rule nearly every other
 * name out; what is left is compared in place, because a slice and its hash cost more than all else
 * that is done to a field.
 */
export class NameTable {
  readonly #names: string[][] = Array.from({ length: 32 * NAME_LENGTH_MAX }, () => NO_NAMES)
  readonly #ids: number[][] = this.#names.map(() => NO_IDS)

  constructor(names: Readonly<Record<string, number>>) {
    for (const [name, id] of Object.entries(names)) {
      const slot = slotOf(name.charCodeAt(0), name.length)
      this.#names[slot] = [...this.#names[slot]!, name]
      this.#ids[slot] = [...this.#ids[slot]!, id]
    }
  }

  /** The number of the name at octets[start, end) in any case, or 0. */
  idOf(octets: Uint8Array, start: number, end: number): number {
    const length = end - start
    if (length >= NAME_LENGTH_MAX) return 0
    const slot = slotOf(octets[start]!, length)
    const names = this.#names[slot]!
    for (let i = 0; i < names.length; i++)
      if (equalsToken(octets, start, names[i]!)) return this.#ids[slot]![i]!
    return 0
  }

  /**
   * The number of the name that an app may take this one for: CGI and WSGI show `Fly_Client_IP` and
   * `Fly-Client-IP` as the same variable, so both have to be kept from a client.
   */
  aliasOf(octets: Uint8Array, start: number, end: number): number {
    const length = end - start
    if (length >= NAME_LENGTH_MAX) return 0
    const slot = slotOf(octets[start]!, length)
    const names = this.#names[slot]!
    for (let i = 0; i < names.length; i++)
      if (isAlias(octets, start, names[i]!)) return this.#ids[slot]![i]!
    return 0
  }
}

const NAME_LENGTH_MAX = 64
const NO_NAMES: string[] = []
const NO_IDS: number[] = []
const slotOf = (first: number, length: number): number => ((first & 31) << 6) | length

/**
 * Whether the token at `start` is `lower`, in any case. Bit 5 is what tells the cases apart; among
 * characters of tokens no other pair differs in it alone and has a letter, digit or `-` in it.
 */
export function equalsToken(octets: Uint8Array, start: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++)
    if ((octets[start + i]! | 32) !== lower.charCodeAt(i)) return false
  return true
}

/** The same with `_` for some or all of its `-`. */
function isAlias(octets: Uint8Array, start: number, lower: string): boolean {
  for (let i = 0; i < lower.length; i++) {
    const c = octets[start + i]!
    if ((c === UNDERSCORE ? HYPHEN : c | 32) !== lower.charCodeAt(i)) return false
  }
  return true
}

/**
 * Length in octets by a Content-Length value (RFC 9112 6.2), or -1. One number, digits only: lists
 * and signs are refused, whatever they would add up to.
 */
export function contentLength(octets: Uint8Array, start: number, end: number): number {
  if (end <= start || end - start > CONTENT_LENGTH_DIGITS_MAX) return -1
  let length = 0
  for (let i = start; i < end; i++) {
    const digit = octets[i]! - 48
    if (digit < 0 || digit > 9) return -1
    length = length * 10 + digit
  }
  return length
}
/** Whether a Content-Length value says its number with more digits than it needs. */
export const hasLeadingZero = (octets: Uint8Array, start: number, end: number): boolean =>
  octets[start] === 48 && end - start > 1

/** Stays below 2^53. */
const CONTENT_LENGTH_DIGITS_MAX = 15

/** The members of a comma-separated list, lower case, empty ones left out (RFC 9110 5.6.1). */
export function listOf(value: string): string[] {
  const members: string[] = []
  for (const part of value.split(',')) {
    const member = trimBlanks(part).toLowerCase()
    if (member !== '') members.push(member)
  }
  return members
}

/** Optional white space only: String.trim would also take characters that are content (0xa0). */
export function trimBlanks(part: string): string {
  let start = 0
  let end = part.length
  while (start < end && isBlank(part.charCodeAt(start))) start++
  while (end > start && isBlank(part.charCodeAt(end - 1))) end--
  return part.slice(start, end)
}

/** `fields` (whole lines, each ended by CRLF) without those of these names (lower case). */
export function withoutFields(fields: string, names: ReadonlySet<string>): string {
  const span = newFieldSpan()
  const octets = octetsOf(fields)
  let kept = ''
  let keepFrom = 0
  for (let at = 0; at < fields.length; ) {
    const next = scanField(octets, at, span)
    if (next < 0) return kept
    if (names.has(fields.slice(at, span.nameEnd).toLowerCase())) {
      kept += fields.slice(keepFrom, at)
      keepFrom = next
    }
    at = next
  }
  return kept + fields.slice(keepFrom)
}
