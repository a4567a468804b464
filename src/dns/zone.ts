import type { Logger } from '../base/log.ts'
import { canonicalName, isWithin, parentOf } from './name.ts'
import {
  address,
  type Message,
  nameServer,
  RCODE,
  type Record,
  respond,
  soa,
  TYPE,
} from './records.ts'
import { type DnsHandler, type DnsServer, type DnsServerOptions, startDnsServer } from './server.ts'
import type { WhoamiHandler } from './whoami.ts'

/** Addresses of a name; lists may be empty or absent. */
export interface NameAddresses {
  readonly a?: readonly string[]
  readonly aaaa?: readonly string[]
}

/** Asked for every query below the zones: lower case, without a dot at the end. */
export interface ZoneSource {
  lookup(name: string): NameAddresses | undefined
}

export interface AuthoritativeOptions {
  /** Names of the zones, without a dot at the end; '' answers for everything. */
  readonly zones: readonly string[]
  readonly source: ZoneSource
  /** Names with fixed addresses, by name; they win over the source. */
  readonly statics?: Readonly<{ [name: string]: NameAddresses }>
  /** Addresses of the name servers `ns.<zone>`. */
  readonly nameServers?: readonly string[]
}

/** Seconds (D17): a change of addresses is seen by everyone soon. */
export const ANSWER_TTL_S = 5
/** For the SOA's timers, which only secondary servers would use. */
const TIMERS = { serial: 1, refresh: 3_600, retry: 600, expire: 86_400, minimum: ANSWER_TTL_S }

/** Serves the zones on the addresses, by UDP and TCP. */
export function createAuthoritativeServer(
  options: AuthoritativeOptions & {
    readonly addresses: readonly string[]
    readonly port: number
    readonly log: Logger
    readonly limits?: DnsServerOptions['limits']
    /** Asked first: zones below these that somebody else knows. */
    readonly before?: WhoamiHandler
  },
): Promise<DnsServer> {
  const { addresses, port, log, limits, before, ...zones } = options
  const nameServers = zones.nameServers ?? addresses.filter((a) => a !== '::' && a !== '0.0.0.0')
  const own = authoritativeHandler({ ...zones, nameServers })
  const handler: DnsHandler = (query, client) => before?.(query, client) ?? own(query)
  return startDnsServer({ addresses, port, log, limits, handler })
}

export function authoritativeHandler(options: AuthoritativeOptions): (query: Message) => Message {
  const zones = options.zones.map(canonicalName).toSorted((a, b) => b.length - a.length)
  const fixed = new Map<string, NameAddresses>()
  for (const zone of zones) fixed.set(nsName(zone), byFamily(options.nameServers ?? []))
  for (const [name, addresses] of Object.entries(options.statics ?? {}))
    fixed.set(canonicalName(name), addresses)
  const between = namesAbove([...fixed.keys(), ...zones])
  return (query) => {
    const question = query.questions[0]!
    const name = canonicalName(question.name)
    const zone = zones.find((z) => isWithin(name, z))
    if (zone === undefined) return respond(query, { rcode: RCODE.REFUSED })
    const found = fixed.get(name) ?? options.source.lookup(name)
    const answers = [
      ...(found ? addressRecords(question.name, question.type, found) : []),
      ...(name === zone ? apexRecords(question.name, question.type, zone) : []),
    ]
    if (answers.length > 0) return respond(query, { authoritative: true, answers })
    // RFC 8020: a name that has something below it exists, though it has no records itself.
    const exists = found !== undefined || name === zone || between.has(name)
    return negative(query, zone, exists ? RCODE.NOERROR : RCODE.NXDOMAIN)
  }
}

/** The SOA tells how long the absence may be remembered (RFC 2308 section 3). */
export const negative = (query: Message, zone: string, rcode: number): Message =>
  respond(query, { authoritative: true, rcode, authorities: [zoneSoa(zone, zone)] })

const nsName = (zone: string) => (zone === '' ? 'ns' : `ns.${zone}`)

const zoneSoa = (owner: string, zone: string): Record =>
  soa(owner, ANSWER_TTL_S, {
    mname: nsName(zone),
    rname: zone === '' ? 'hostmaster' : `hostmaster.${zone}`,
    ...TIMERS,
  })

const asks = (type: number, of: number) => type === of || type === TYPE.ANY

function addressRecords(owner: string, type: number, found: NameAddresses): Record[] {
  const texts = [
    ...(asks(type, TYPE.A) ? (found.a ?? []) : []),
    ...(asks(type, TYPE.AAAA) ? (found.aaaa ?? []) : []),
  ]
  return texts.map((text) => address(owner, ANSWER_TTL_S, text))
}

function apexRecords(owner: string, type: number, zone: string): Record[] {
  return [
    ...(asks(type, TYPE.SOA) ? [zoneSoa(owner, zone)] : []),
    ...(asks(type, TYPE.NS) ? [nameServer(owner, ANSWER_TTL_S, nsName(zone))] : []),
  ]
}

function namesAbove(names: readonly string[]): Set<string> {
  const above = new Set<string>()
  for (const name of names)
    for (let n = name; n !== ''; ) {
      n = parentOf(n)
      above.add(n)
    }
  return above
}

const byFamily = (addresses: readonly string[]): NameAddresses => ({
  a: addresses.filter((a) => !a.includes(':')),
  aaaa: addresses.filter((a) => a.includes(':')),
})
