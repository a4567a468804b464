import net from 'node:net'
import { FairwayError } from '../base/errors.ts'
import { canonicalIp, formatPrefix, parsePrefix } from '../base/ip.ts'

/** Destinations of outbound proxies, as clients ask for them and as allow-lists name them. */

export const ALLOW_ENTRIES_MAX = 256

/** What a client asks for: a name to resolve here, or an address. */
export interface Destination {
  /** Lower case without a final dot, or a canonical address. */
  readonly host: string
  /** 0 when `host` is a name. */
  readonly family: 0 | 4 | 6
  readonly port: number
}

/**
 * A host as written by a client, canonical: an address of either family, or a name. Null when it is
 * neither. Whatever another resolver could read as an IPv4 address in decimal, octal or hexadecimal
 * is no name: by the URL standard that is any name whose last label is a number.
 */
export function parseHost(text: string): Pick<Destination, 'host' | 'family'> | null {
  if (text.length === 0 || text.length > NAME_BYTES_MAX + 1) return null
  const family = net.isIP(text)
  if (family === 4) return { host: text, family }
  if (family === 6) {
    const host = canonicalIp(text)
    return host === undefined ? null : { host, family }
  }
  const host = (text.endsWith('.') ? text.slice(0, -1) : text).toLowerCase()
  if (host.length > NAME_BYTES_MAX || !NAME.test(host)) return null
  return NUMBER.test(host.slice(host.lastIndexOf('.') + 1)) ? null : { host, family: 0 }
}
const NAME_BYTES_MAX = 253
/** Letters, digits, hyphen, and the underscore that service names have. */
const NAME = /^(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/
const NUMBER = /^([0-9]+|0x[0-9a-f]*)$/

export interface AllowEntry {
  readonly kind: 'any' | 'name' | 'suffix' | 'prefix'
  readonly value: string
  readonly portMin: number
  readonly portMax: number
}

/**
 * One line of an allow-list: `*`, a host name, `*.suffix`, an address or a prefix; then, if wanted,
 * `:port` or `:from-to`. IPv6 with a port goes in brackets. Throws what is wrong with it.
 */
export function parseAllowEntry(text: string): AllowEntry {
  const bad = (why: string) =>
    new FairwayError(
      'invalid',
      `allow: "${text}" ${why}; write a host, *.suffix, an address or a prefix, with :port or :from-to if wanted`,
    )
  const match =
    /^(?:\[([0-9a-fA-F:.]+)\](\/\d{1,3})?|([^:[\]]+)|([0-9a-fA-F:.]+(?:\/\d{1,3})?))(?::(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(
      text,
    )
  const whole = parsePrefix(text)
  if (!match && !whole) throw bad('is not a destination')
  // Without brackets an IPv6 address ends in what looks like a port.
  const host = whole
    ? text
    : match![1]
      ? `${match![1]}${match![2] ?? ''}`
      : (match![3] ?? match![4]!)
  const portMin = whole || !match![5] ? 1 : Number(match![5])
  const portMax = whole || !match![5] ? 65_535 : Number(match![6] ?? match![5])
  if (portMin < 1 || portMax > 65_535 || portMin > portMax) throw bad('has no valid port')
  const ports = { portMin, portMax }
  if (host === '*') return { kind: 'any', value: '*', ...ports }
  const prefix = parsePrefix(host)
  if (prefix) {
    return { kind: 'prefix', value: formatPrefix(prefix), ...ports }
  }
  const suffix = host.startsWith('*.')
  const parsed = parseHost(suffix ? host.slice(2) : host)
  if (parsed?.family !== 0) throw bad('is neither a name nor an address')
  return { kind: suffix ? 'suffix' : 'name', value: parsed.host, ...ports }
}

/** A whole allow-list. Throws what is wrong with it. */
export function parseAllow(allow: readonly string[]): AllowEntry[] {
  if (allow.length > ALLOW_ENTRIES_MAX)
    throw new FairwayError(
      'invalid',
      `allow: ${allow.length} entries; at most ${ALLOW_ENTRIES_MAX}, use *.suffix or prefixes`,
    )
  return allow.map(parseAllowEntry)
}
