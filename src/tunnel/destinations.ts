import { isIP, isIPv6 } from 'node:net'
import { TunnelError } from './failure.ts'

/** Where a connection goes: a name (lower case, without a dot at the end) or an address, and a port. */
export interface Destination {
  readonly host: string
  readonly port: number
}

/** A local port that leads to a destination. `listen` null: both loopback addresses. */
export interface Mapping {
  readonly listen: string | null
  readonly port: number
  readonly to: Destination
}

export const isAddress = (host: string): boolean => isIP(host) !== 0

/** `host:port`, an IPv6 address in brackets. */
export const destinationText = ({ host, port }: Destination): string =>
  isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`

const NAME_MAX = 253
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const PART = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::|$)/
const DESTINATIONS_MAX = 256

/** `what` says where the text stood, for the error. */
export function parseDestination(text: string, what: string): Destination {
  const parts = split(text)
  if (parts?.length !== 2) throw bad(what, text, 'give host:port, such as db.example.com:5432')
  return destination(parts[0]!, parts[1]!, what, text)
}

/** `[listen:]port:host:port`. */
export function parseMapping(text: string, what: string): Mapping {
  const parts = split(text)
  if (parts?.length !== 3 && parts?.length !== 4)
    throw bad(what, text, 'give [listen:]port:host:port, such as 5432:db.example.com:5432')
  const [port, host, toPort] = parts.slice(-3) as [string, string, string]
  const listen = parts.length === 4 ? parts[0]! : null
  if (listen !== null && isIP(listen) === 0)
    throw bad(what, text, `"${listen}" is not an address to listen at; give one such as 127.0.0.1`)
  return {
    listen,
    port: portNumber(port, what, text),
    to: destination(host, toPort, what, text),
  }
}

/** Destinations with commas or white space between them, as QGTUNNEL_DESTINATIONS has them. */
export function parseDestinations(text: string, what: string): Destination[] {
  const words = text.split(/[\s,]+/).filter(Boolean)
  if (words.length > DESTINATIONS_MAX)
    throw new TunnelError(
      `${what}: ${words.length} destinations; at most ${DESTINATIONS_MAX}, or carry everything (--all)`,
    )
  return words.map((word) => parseDestination(word, what))
}

function destination(host: string, port: string, what: string, text: string): Destination {
  return { host: hostName(host, what, text), port: portNumber(port, what, text) }
}

function hostName(host: string, what: string, text: string): string {
  if (isIP(host) !== 0) return host.toLowerCase()
  const name = host.toLowerCase().replace(/\.$/, '')
  const labels = name.split('.')
  // All digits at the end is an address that was mistyped (WHATWG URL, "ends in a number").
  const isName =
    name.length <= NAME_MAX &&
    labels.every((label) => LABEL.test(label)) &&
    !/^\d+$/.test(labels.at(-1)!)
  if (isName) return name
  throw bad(what, text, `"${host}" is neither a host name nor an address`)
}

function portNumber(port: string, what: string, text: string): number {
  const number = /^[0-9]{1,5}$/.test(port) ? Number(port) : 0
  if (number >= 1 && number <= 65_535) return number
  throw bad(what, text, `"${port}" is not a port; give a number from 1 to 65535`)
}

/** The parts between colons, where brackets hold an IPv6 address together. */
function split(text: string): string[] | null {
  const parts: string[] = []
  let rest = text
  for (;;) {
    const match = PART.exec(rest)
    if (!match || (match[1] !== undefined && !isIPv6(match[1]))) return null
    parts.push(match[1] ?? match[2]!)
    if (parts.length > 4) return null
    if (!match[0].endsWith(':')) return parts
    rest = rest.slice(match[0].length)
  }
}

const SHOWN_MAX = 80

const bad = (what: string, text: string, fix: string) =>
  new TunnelError(`${what} ${JSON.stringify(text.slice(0, SHOWN_MAX))}: ${fix}`)
