import { isIPv6 } from 'node:net'
import { CHAR_CLASS, COLON, HEX } from './chars.ts'

const NAME = Uint8Array.from({ length: 256 }, (_, c) =>
  /[A-Za-z0-9._~!$&'()*+;=-]/.test(String.fromCharCode(c)) ? 1 : 0,
)
const PERCENT = 37
const BRACKET_OPEN = 91
const PORT_MAX = 65_535

/**
 * Whether octets[start, end) is uri-host [":" port] (RFC 9110 7.2): a name, IPv4, or IPv6 in brackets;
 * `text` is the same as a string. Without the comma that RFC 3986 allows in names: it would make one
 * field out of two.
 */
export function isHost(octets: Uint8Array, text: string, start: number, end: number): boolean {
  const i =
    octets[start] === BRACKET_OPEN ? afterV6(text, start, end) : afterName(octets, start, end)
  if (i <= start) return false
  return i === end || (octets[i] === COLON && isPort(octets, i + 1, end))
}

function afterName(octets: Uint8Array, start: number, end: number): number {
  let i = start
  while (i < end) {
    const c = octets[i]!
    if (NAME[c] === 1) i++
    else if (c === PERCENT && i + 2 < end && isHex(octets[i + 1]!) && isHex(octets[i + 2]!)) i += 3
    else return i
  }
  return i
}

/** -1: not an address. No zone: it means something on the sender's host only (RFC 6874). */
function afterV6(text: string, start: number, end: number): number {
  const close = text.indexOf(']', start)
  if (close < 0 || close >= end) return -1
  const address = text.slice(start + 1, close)
  return isIPv6(address) && !address.includes('%') ? close + 1 : -1
}

/** May be empty (RFC 3986 3.2.3). */
function isPort(octets: Uint8Array, start: number, end: number): boolean {
  let port = 0
  for (let i = start; i < end; i++) {
    const digit = octets[i]! - 48
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
    if (port > PORT_MAX) return false
  }
  return true
}

const isHex = (c: number): boolean => (CHAR_CLASS[c]! & HEX) !== 0
