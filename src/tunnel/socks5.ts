import { isIP, isIPv4 } from 'node:net'
import { type Destination, destinationText } from './destinations.ts'
import { TunnelError } from './failure.ts'
import type { Handshake, Step } from './handshake.ts'
import type { Credentials } from './proxy-url.ts'

const VERSION = 5
const NO_AUTH = 0
const PASSWORD = 2
const CONNECT = 1
const ATYP = { v4: 1, name: 3, v6: 4 } as const

const MORE: Step = { t: 'more' }

/** SOCKS5 (RFC 1928) with user and password (RFC 1929); names go to the proxy as names. */
export function socks5(to: Destination, credentials: Credentials | null): Handshake {
  let seen = Buffer.alloc(0)
  let state: 'method' | 'password' | 'connect' = 'method'
  const steps = {
    method(): Step {
      if (seen.length >= 1 && seen[0] !== VERSION) throw new TunnelError(NOT_SOCKS)
      if (seen.length < 2) return MORE
      const method = seen[1]
      seen = seen.subarray(2)
      if (method === NO_AUTH) return request()
      if (method === PASSWORD && credentials) {
        state = 'password'
        return { t: 'send', bytes: passwordMessage(credentials) }
      }
      throw new TunnelError(
        credentials
          ? 'the proxy takes neither a password nor none; it is set up for something else'
          : 'the proxy wants credentials: put user:password@ before the host of its URL',
      )
    },
    password(): Step {
      if (seen.length < 2) return MORE
      // Some proxies put SOCKS' version where RFC 1929 has its own.
      if (seen[0] !== 1 && seen[0] !== VERSION) throw new TunnelError(NOT_SOCKS)
      if (seen[1] !== 0)
        throw new TunnelError(
          'the proxy does not accept the credentials; check user and password of its URL',
        )
      seen = seen.subarray(2)
      return request()
    },
    connect(): Step {
      if (seen.length >= 1 && seen[0] !== VERSION) throw new TunnelError(NOT_SOCKS)
      if (seen.length < 2) return MORE
      if (seen[1] !== 0) throw new TunnelError(refusal(seen[1]!, to))
      const length = replyLength(seen)
      if (length === undefined || seen.length < length) return MORE
      return { t: 'open', rest: seen.subarray(length) }
    },
  }
  function request(): Step {
    // A proxy speaks only when asked: bytes ahead of the question are no answer to it.
    if (seen.length > 0) throw new TunnelError(NOT_SOCKS)
    state = 'connect'
    return { t: 'send', bytes: connectMessage(to) }
  }
  return {
    first: Buffer.from(credentials ? [VERSION, 2, NO_AUTH, PASSWORD] : [VERSION, 1, NO_AUTH]),
    push(chunk) {
      seen = Buffer.concat([seen, chunk])
      return steps[state]()
    },
  }
}

/** How long the reply is with its address, as soon as that can be said. */
function replyLength(reply: Buffer): number | undefined {
  if (reply.length < 5) return undefined
  const type = reply[3]
  const address = type === ATYP.v4 ? 4 : type === ATYP.v6 ? 16 : 1 + reply[4]!
  if (type !== ATYP.v4 && type !== ATYP.v6 && type !== ATYP.name) throw new TunnelError(NOT_SOCKS)
  return 4 + address + 2
}

function passwordMessage({ user, password }: Credentials): Buffer {
  const [name, secret] = [Buffer.from(user), Buffer.from(password)]
  return Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([secret.length]), secret])
}

function connectMessage({ host, port }: Destination): Buffer {
  const ends = Buffer.from([port >> 8, port & 0xff])
  return Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), address(host), ends])
}

function address(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([ATYP.v4, ...host.split('.').map(Number)])
  if (isIP(host) === 0) {
    const name = Buffer.from(host)
    return Buffer.concat([Buffer.from([ATYP.name, name.length]), name])
  }
  return Buffer.concat([Buffer.from([ATYP.v6]), v6Bytes(host)])
}

/** The 16 bytes of a valid IPv6 address, with any IPv4 address at its end; a zone is left out. */
export function v6Bytes(text: string): Buffer {
  const plain = text
    .replace(/%.*$/, '')
    .replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
      [256 * a + +b, 256 * c + +d].map((n) => n.toString(16)).join(':'),
    )
  const [head = '', tail] = plain.split('::')
  const words = (part: string) => (part === '' ? [] : part.split(':'))
  const left = words(head)
  const right = tail === undefined ? [] : words(tail)
  const middle = Array(8 - left.length - right.length).fill('0')
  const hex = [...left, ...middle, ...right].map((word) => word.padStart(4, '0'))
  return Buffer.from(hex.join(''), 'hex')
}

const NOT_SOCKS =
  "what answers at the proxy's address does not speak SOCKS5; check the URL's scheme and port"

/** RFC 1928 6. */
const REFUSALS: readonly string[] = [
  '',
  'failed (general failure)',
  'does not allow this destination; check what the credential may reach',
  'has no route to the destination (network unreachable)',
  'cannot reach the destination (host unreachable, or its name is unknown)',
  'was refused by the destination (connection refused)',
  'got no answer from the destination in time',
  'does not carry connections (command not supported)',
  'does not take this kind of address',
]

const refusal = (code: number, to: Destination): string =>
  `${destinationText(to)}: the proxy ${REFUSALS[code] ?? `answered with code ${code}`}`
