import { CHAR_CLASS, SP, TARGET, TOKEN } from './chars.ts'
import { FAULTS, type HeadFault } from './head-faults.ts'
import { METHOD_BYTES_MAX, TARGET_BYTES_MAX } from './limits.ts'

/** Where the parts of a request line lie. Reused, so that a scan allocates nothing. */
export interface RequestLine {
  methodEnd: number
  targetStart: number
  targetEnd: number
  /** Minor version of HTTP/1. */
  minor: number
}

export const newRequestLine = (): RequestLine => ({
  methodEnd: 0,
  targetStart: 0,
  targetEnd: 0,
  minor: 1,
})

/** Scans octets[from, end), which CRLF follows: `method SP target SP HTTP/1.x` (RFC 9112 3). */
export function scanRequestLine(
  octets: Uint8Array,
  from: number,
  end: number,
  line: RequestLine,
): HeadFault | null {
  let i = from
  let c = octets[i]!
  while ((CHAR_CLASS[c]! & TOKEN) !== 0) c = octets[++i]!
  if (c !== SP || i === from || i - from > METHOD_BYTES_MAX) return FAULTS.method
  line.methodEnd = i
  const start = ++i
  c = octets[i]!
  while ((CHAR_CLASS[c]! & TARGET) !== 0) c = octets[++i]!
  if (i - start > TARGET_BYTES_MAX) return FAULTS.targetBytes
  if (c !== SP || i === start) return c > SP ? FAULTS.target : FAULTS.line
  line.targetStart = start
  line.targetEnd = i
  return version(octets, i + 1, end, line)
}

function version(octets: Uint8Array, at: number, end: number, line: RequestLine): HeadFault | null {
  if (end - at !== NAME.length + 3 || octets[at + 6] !== DOT) return FAULTS.line
  for (let i = 0; i < NAME.length; i++)
    if (octets[at + i] !== NAME.charCodeAt(i)) return FAULTS.line
  const major = octets[at + 5]! - ZERO
  const minor = octets[at + 7]! - ZERO
  if (major !== 1 || (minor !== 0 && minor !== 1))
    return isDigit(major) && isDigit(minor) ? FAULTS.version : FAULTS.line
  line.minor = minor
  return null
}

const NAME = 'HTTP/'
const DOT = 46
const ZERO = 48
const isDigit = (n: number): boolean => n >= 0 && n <= 9
