import { type Destination, destinationText } from './destinations.ts'
import { TunnelError } from './failure.ts'
import type { Handshake, Step } from './handshake.ts'
import type { Credentials } from './proxy-url.ts'

/** An answer's head is short; a proxy that sends more is none. */
export const HEAD_MAX_BYTES = 16_384
const STATUS_LINE = /^HTTP\/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?$/
const HEADER_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*$/

/** HTTP CONNECT (RFC 9110 9.3.6), with Basic credentials (RFC 7617). */
export function httpConnect(to: Destination, credentials: Credentials | null): Handshake {
  let seen = Buffer.alloc(0)
  return {
    first: request(to, credentials),
    push(chunk): Step {
      seen = Buffer.concat([seen, chunk])
      for (;;) {
        const end = seen.indexOf('\r\n\r\n')
        if (end > HEAD_MAX_BYTES || (end < 0 && seen.length > HEAD_MAX_BYTES))
          throw new TunnelError('the proxy sent an answer with an endless head')
        if (end < 0) {
          refuseOther(seen)
          return { t: 'more' }
        }
        const status = statusOf(seen.toString('latin1', 0, end))
        seen = seen.subarray(end + 4)
        if (status >= 200 && status < 300) return { t: 'open', rest: seen }
        // RFC 9110 15.2: an interim answer may come before the real one, but not a new protocol.
        if (status === 101 || status >= 200) throw new TunnelError(refusal(status, to))
      }
    },
  }
}

function request(to: Destination, credentials: Credentials | null): Buffer {
  const target = destinationText(to)
  const lines = [`CONNECT ${target} HTTP/1.1`, `Host: ${target}`]
  if (credentials) {
    const basic = Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')
    lines.push(`Proxy-Authorization: Basic ${basic}`)
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
}

/** What does not begin like HTTP is refused at its first bytes, not after a time-out. */
function refuseOther(seen: Buffer): void {
  const start = seen.toString('latin1', 0, 7)
  if (!'HTTP/1.'.startsWith(start)) throw new TunnelError(NOT_HTTP)
}

const NOT_HTTP =
  "what answers at the proxy's address does not speak HTTP; check the URL's scheme and port"

function statusOf(head: string): number {
  const [first, ...headers] = head.split('\r\n')
  const match = STATUS_LINE.exec(first!)
  if (!match || !headers.every((line) => HEADER_LINE.test(line))) throw new TunnelError(NOT_HTTP)
  return Number(match[1])
}

const REFUSALS: Readonly<Record<number, string>> = {
  400: 'does not take the request (400); is it an HTTP proxy?',
  401: 'wants credentials (401)',
  403: 'does not allow this destination (403); check what the credential may reach',
  404: 'does not know the destination (404); is it an HTTP proxy?',
  405: 'does not carry connections (405); is it an HTTP proxy?',
  407: 'does not accept the credentials (407); check user and password of its URL',
  429: 'has too many connections for this credential (429); try again later',
  502: 'cannot reach the destination (502)',
  503: 'is overloaded or stopping (503); try again later',
  504: 'got no answer from the destination in time (504)',
}

const refusal = (status: number, to: Destination): string =>
  `${destinationText(to)}: the proxy ${REFUSALS[status] ?? `answered ${status}`}`
