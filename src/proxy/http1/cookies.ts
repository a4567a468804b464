import { equalsToken, newFieldSpan, scanField } from '../../base/http1/fields.ts'
import { octetsOf } from '../../base/latin1.ts'

const SPAN = newFieldSpan()

/**
 * The value of a request's cookie (RFC 6265, 5.4), the first of several; '' when there is none.
 * `head`: request line and field lines that were scanned before.
 */
export function cookieOf(head: string, name: string): string {
  const octets = octetsOf(head)
  for (let at = head.indexOf('\r\n') + 2; at < head.length; ) {
    const from = at
    at = scanField(octets, from, SPAN)
    if (at < 0) return ''
    if (SPAN.nameEnd - from !== COOKIE.length || !equalsToken(octets, from, COOKIE)) continue
    const value = find(head.slice(SPAN.valueStart, SPAN.valueEnd), name)
    if (value !== '') return value
  }
  return ''
}
const COOKIE = 'cookie'

function find(pairs: string, name: string): string {
  for (let at = 0; at < pairs.length; ) {
    while (pairs[at] === ' ') at++
    const semicolon = pairs.indexOf(';', at)
    const end = semicolon < 0 ? pairs.length : semicolon
    if (pairs.startsWith(name, at) && pairs[at + name.length] === '=')
      return pairs.slice(at + name.length + 1, end)
    at = end + 1
  }
  return ''
}

/** A field line that gives the client a cookie that its scripts cannot read. */
export function setCookie(cookie: {
  readonly name: string
  readonly value: string
  /** Null: until the client closes. */
  readonly maxAgeSeconds: number | null
  readonly secure: boolean
}): string {
  const age = cookie.maxAgeSeconds === null ? '' : `; Max-Age=${cookie.maxAgeSeconds}`
  const secure = cookie.secure ? '; Secure' : ''
  return `Set-Cookie: ${cookie.name}=${cookie.value}; Path=/${age}; HttpOnly; SameSite=Lax${secure}\r\n`
}
