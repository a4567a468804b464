import net from 'node:net'
import { FairwayError } from '../base/errors.ts'
import { formatPrefix, parsePrefix } from '../base/ip.ts'
import { type AllowEntry, type Destination, parseAllow } from '../model/destination.ts'

/**
 * Not on the public internet, or a way round to what is not: private, loopback, link-local (with the
 * metadata services), shared (CGNAT), multicast, reserved; and the IPv6 forms that carry an IPv4
 * address in them (mapped, compatible, NAT64, 6to4, Teredo), because somebody on the way would unpack
 * it after it was checked.
 */
export const REFUSED_PREFIXES: readonly string[] = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '224.0.0.0/3',
  // All but global unicast: ::/96, ::ffff:0:0/96, 64:ff9b::/96, fc00::/7, fe80::/10, ff00::/8 ...
  '::/3',
  '4000::/2',
  '8000::/1',
  // IETF protocols, Teredo among them; documentation space 2001:db8::/32 is outside of it.
  '2001::/23',
  '2002::/16',
]

/** Prefixes in a form that is quick to ask. */
export class PrefixSet {
  readonly #v4 = new net.BlockList()
  readonly #v6 = new net.BlockList()

  constructor(prefixes: readonly string[]) {
    for (const text of prefixes) {
      const prefix = parsePrefix(text)
      if (!prefix) throw new FairwayError('invalid', `prefix: ${text}; write address/length`)
      const [base, length] = formatPrefix(prefix).split('/')
      const family = prefix.family === 4 ? 'ipv4' : 'ipv6'
      this.#of(prefix.family).addSubnet(base!, Number(length), family)
    }
  }

  /** Families stay apart: an IPv4 prefix never speaks for an address that carries IPv4 in IPv6. */
  has(address: string, family: 4 | 6): boolean {
    return this.#of(family).check(address, family === 4 ? 'ipv4' : 'ipv6')
  }

  #of(family: 4 | 6): net.BlockList {
    return family === 4 ? this.#v4 : this.#v6
  }
}

interface PolicyEntry extends AllowEntry {
  readonly prefixes: PrefixSet | null
}

const REFUSED = new PrefixSet(REFUSED_PREFIXES)

/** Where one proxy's clients may go. Built once per change, asked twice per connection. */
export class DestinationPolicy {
  readonly #entries: readonly PolicyEntry[]
  readonly #never: PrefixSet

  /**
   * `allow` empty: every public destination. `never`: the operator's own (hosts, control plane, this
   * proxy), which no allow-list opens.
   */
  constructor(allow: readonly string[], never: PrefixSet) {
    this.#entries = parseAllow(allow).map((entry) => ({
      ...entry,
      prefixes: entry.kind === 'prefix' ? new PrefixSet([entry.value]) : null,
    }))
    this.#never = never
  }

  /** Before a name is resolved: false when no address of it could be allowed. */
  mayAsk({ host, family, port }: Destination): boolean {
    if (this.#entries.length === 0) return true
    return this.#entries.some(
      (entry) =>
        portFits(entry, port) &&
        (entry.kind === 'prefix' || (family === 0 ? nameFits(entry, host) : entry.kind === 'any')),
    )
  }

  /** Whether an address that `destination` resolved to, or is, may be dialled. */
  mayDial({ host, family: asked, port }: Destination, address: string, family: 4 | 6): boolean {
    if (this.#never.has(address, family)) return false
    const fits = (entry: PolicyEntry) =>
      portFits(entry, port) && (entry.prefixes?.has(address, family) ?? false)
    // A prefix that somebody wrote down opens what is refused otherwise; a name never does, because
    // whoever holds the name decides what it resolves to.
    if (REFUSED.has(address, family)) return this.#entries.some(fits)
    if (this.#entries.length === 0) return true
    return this.#entries.some(
      (entry) =>
        fits(entry) ||
        (portFits(entry, port) && (entry.kind === 'any' || (asked === 0 && nameFits(entry, host)))),
    )
  }
}

const portFits = (entry: AllowEntry, port: number): boolean =>
  port >= entry.portMin && port <= entry.portMax

function nameFits(entry: AllowEntry, host: string): boolean {
  if (entry.kind === 'any') return true
  if (entry.kind === 'name') return host === entry.value
  return entry.kind === 'suffix' && host.endsWith(`.${entry.value}`)
}
