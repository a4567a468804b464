import { unmapped } from '../base/ip.ts'
import { canonicalName, isWithin } from './name.ts'
import {
  address,
  type Message,
  nameServer,
  RCODE,
  type Record,
  respond,
  soa,
  TYPE,
  text,
} from './records.ts'
import type { DnsClient } from './server.ts'

/** Tells a caller its own address: as TXT, and as A or AAAA where it is one. */
export interface WhoamiOptions {
  /** `whoami.<apps domain>`, each a zone of its own. */
  readonly zones: readonly string[]
  /** Name of the server that the zones are delegated to. */
  readonly nameServer: string
  /** The addresses of whoever asks, as the world sees them; nobody knows: none. */
  readonly addressesOf: (client: DnsClient) => readonly string[] | Promise<readonly string[]>
}

/** The asker itself. */
export const addressOf = ({ address: client }: DnsClient): readonly string[] => [unmapped(client)]

/** The next asker is another one. */
const TTL_S = 0
const TIMERS = { serial: 1, refresh: 3_600, retry: 600, expire: 86_400, minimum: TTL_S }

export type WhoamiHandler = (query: Message, client: DnsClient) => Promise<Message> | undefined

/** Answers what is in the zones; undefined for what is not. ANY is refused (RFC 8482 lets a server). */
export function whoamiHandler(options: WhoamiOptions): WhoamiHandler {
  const zones = options.zones.map(canonicalName)
  return (query, client) => {
    const question = query.questions[0]!
    const name = canonicalName(question.name)
    const zone = zones.find((z) => isWithin(name, z))
    if (zone === undefined) return undefined
    return answer(options, query, zone, name === zone, client)
  }
}

async function answer(
  options: WhoamiOptions,
  query: Message,
  zone: string,
  isApex: boolean,
  client: DnsClient,
): Promise<Message> {
  const { name, type } = query.questions[0]!
  const authority = soa(zone, TTL_S, {
    ...{ mname: options.nameServer, rname: `hostmaster.${zone}`, ...TIMERS },
  })
  if (type === TYPE.ANY) return respond(query, { rcode: RCODE.REFUSED })
  const none = (rcode: number) =>
    respond(query, { authoritative: true, rcode, authorities: [authority] })
  if (!isApex) return none(RCODE.NXDOMAIN)
  if (type === TYPE.SOA) return respond(query, { authoritative: true, answers: [authority] })
  if (type === TYPE.NS) {
    const answers = [nameServer(name, TTL_S, options.nameServer)]
    return respond(query, { authoritative: true, answers })
  }
  const answers = recordsOf(name, type, await options.addressesOf(client))
  return answers.length > 0 ? respond(query, { authoritative: true, answers }) : none(RCODE.NOERROR)
}

function recordsOf(name: string, type: number, addresses: readonly string[]): Record[] {
  if (type === TYPE.TXT) return addresses.map((found) => text(name, TTL_S, found))
  if (type !== TYPE.A && type !== TYPE.AAAA) return []
  return addresses
    .filter((found) => found.includes(':') === (type === TYPE.AAAA))
    .map((found) => address(name, TTL_S, found))
}
