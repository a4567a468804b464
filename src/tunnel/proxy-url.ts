import { isIP } from 'node:net'
import { TunnelError } from './failure.ts'

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** How to reach the outbound proxy. */
export interface OutboundProxy {
  readonly protocol: 'connect' | 'socks5'
  /** Whether the connection to the proxy itself is TLS. */
  readonly tls: boolean
  readonly host: string
  readonly port: number
  readonly credentials: Credentials | null
}

const SCHEMES: Readonly<Record<string, Pick<OutboundProxy, 'protocol' | 'tls' | 'port'>>> = {
  'http:': { protocol: 'connect', tls: false, port: 80 },
  'https:': { protocol: 'connect', tls: true, port: 443 },
  'socks5:': { protocol: 'socks5', tls: false, port: 1080 },
  'socks5h:': { protocol: 'socks5', tls: false, port: 1080 },
  'socks5s:': { protocol: 'socks5', tls: true, port: 1080 },
}
/** RFC 1929: a length is one byte. */
const SOCKS_CREDENTIAL_MAX = 255
const URL_MAX = 2_048

/**
 * `scheme://user:password@host:port`. `from` names where it stood; the text itself is in no error,
 * since it holds a password.
 */
export function parseProxyUrl(text: string, from: string): OutboundProxy {
  const bad = (fix: string) => new TunnelError(`${from}: ${fix}`)
  if (text.length > URL_MAX) throw bad(`longer than ${URL_MAX} characters`)
  if (!URL.canParse(text))
    throw bad('not a URL; give http://user:password@host:port or socks5://user:password@host:port')
  const url = new URL(text)
  const scheme = SCHEMES[url.protocol]
  if (!scheme)
    throw bad(`the scheme ${url.protocol}// is not one of ${Object.keys(SCHEMES).join('//, ')}//`)
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  if (!isIP(host) && !/^[a-z0-9._-]{1,253}$/.test(host)) throw bad('the URL names no host')
  if (!/^\/?$/.test(url.pathname) || url.search || url.hash)
    throw bad('a proxy URL ends after its port; take away what follows')
  const port = url.port === '' ? scheme.port : Number(url.port)
  if (port === 0) throw bad('port 0 cannot be connected to')
  return { ...scheme, host, port, credentials: credentials(url, scheme.protocol, bad) }
}

function credentials(
  url: URL,
  protocol: OutboundProxy['protocol'],
  bad: (fix: string) => TunnelError,
): Credentials | null {
  const [user, password] = [url.username, url.password].map((part) => decoded(part, bad)) as [
    string,
    string,
  ]
  if (user === '' && password === '') return null
  if (protocol === 'connect' && user.includes(':'))
    throw bad('the user name has a colon, which Basic authentication cannot carry (RFC 7617 2)')
  const isLong = [user, password].some((part) => {
    const length = Buffer.byteLength(part)
    return length === 0 || length > SOCKS_CREDENTIAL_MAX
  })
  if (protocol === 'socks5' && isLong)
    throw bad(`SOCKS5 needs a user name and a password of 1 to ${SOCKS_CREDENTIAL_MAX} bytes`)
  return { user, password }
}

function decoded(part: string, bad: (fix: string) => TunnelError): string {
  let text: string
  try {
    text = decodeURIComponent(part)
  } catch {
    throw bad('the credentials hold a % that is no escape; write it as %25')
  }
  if (/[\x00-\x1f\x7f]/.test(text)) throw bad('the credentials hold a control character')
  return text
}
