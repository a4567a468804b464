import { isIPv6 } from 'node:net'
import { CHAR_CLASS, COLON, HEX } from './chars.ts'

const NAME = Uint8Array.from({ length: 256 }, (_, c) =>
  /[A-Za-z0-9._~!$&'()*+;=-]/.test(String.fromCharCode(c)) ? 1 : 0,
)
const PERCENT = 37
const BRACKET_OPEN = 91
const PORT_MAX = 65_535

/**
 * Whether text[start, end) is uri-host [":" port] (RFC 9110 7.2): a name, IPv4, or IPv6 in brackets.
 * Without the comma that RFC 3986 allows in names: it would make one field out of two.
 */
export function isHost(text: string, start: number, end: number): boolean {
  const i =
    text.charCodeAt(start) === BRACKET_OPEN
      ? afterV6(text, start, end)
      : afterName(text, start, end)
  if (i <= start) return false
  return i === end || (text.charCodeAt(i) === COLON && isPort(text, i + 1, end))
}

function afterName(text: string, start: number, end: number): number {
  let i = start
  while (i < end) {
    const c = text.charCodeAt(i)
    if (NAME[c] === 1) i++
    else if (c === PERCENT && i + 2 < end && isHex(text, i + 1) && isHex(text, i + 2)) i += 3
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
function isPort(text: string, start: number, end: number): boolean {
  let port = 0
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return false
    port = port * 10 + digit
    if (port > PORT_MAX) return false
  }
  return true
}

const isHex = (text: string, i: number): boolean => (CHAR_CLASS[text.charCodeAt(i)]! & HEX) !== 0
