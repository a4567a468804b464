import { formatIp, parseIp } from '../base/ip.ts'
import { DnsFormatError } from './name.ts'

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const
export const CLASS_IN = 1
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  /** Needs the upper bits of an OPT record. */
  BADVERS: 16,
} as const

/**
 * Data of a record in parts: bytes as they are, and names. Types whose names may be compressed
 * (RFC 3597 section 4) are split, so that they survive being written into another message.
 */
export type DataPart = Uint8Array | { readonly name: string }

export interface Question {
  readonly name: string
  readonly type: number
  readonly class: number
}

export interface Record {
  readonly name: string
  readonly type: number
  readonly class: number
  /** Seconds. */
  readonly ttl: number
  readonly data: readonly DataPart[]
}

/** RFC 6891. Options of other hops are nobody's business, and are dropped. */
export interface Edns {
  readonly version: number
  readonly udpBytes: number
  readonly dnssecOk: boolean
}

export interface Message {
  readonly id: number
  readonly response: boolean
  readonly opcode: number
  readonly authoritative: boolean
  readonly truncated: boolean
  readonly recursionDesired: boolean
  readonly recursionAvailable: boolean
  readonly authenticData: boolean
  readonly checkingDisabled: boolean
  /** Twelve bits where there is EDNS, else four. */
  readonly rcode: number
  readonly questions: readonly Question[]
  readonly answers: readonly Record[]
  readonly authorities: readonly Record[]
  /** Without the OPT record, which is `edns`. */
  readonly additionals: readonly Record[]
  readonly edns: Edns | null
}

export const address = (name: string, ttl: number, text: string): Record => {
  const ip = parseIp(text)
  if (!ip) throw new DnsFormatError(`${name}: ${text} is not an address`)
  const bytes = Buffer.from(ip.bits.toString(16).padStart(ip.family === 4 ? 8 : 32, '0'), 'hex')
  return { name, type: ip.family === 4 ? TYPE.A : TYPE.AAAA, class: CLASS_IN, ttl, data: [bytes] }
}

/** The address of an A or AAAA record; `undefined` for any other. */
export function addressText({ type, data }: Record): string | undefined {
  const bytes = data[0]
  if (!(bytes instanceof Uint8Array)) return undefined
  const bits = BigInt(`0x0${Buffer.from(bytes).toString('hex')}`)
  if (type === TYPE.A && bytes.length === 4) return formatIp({ family: 4, bits })
  if (type === TYPE.AAAA && bytes.length === 16) return formatIp({ family: 6, bits })
  return undefined
}

export const nameServer = (name: string, ttl: number, target: string): Record => ({
  name,
  type: TYPE.NS,
  class: CLASS_IN,
  ttl,
  data: [{ name: target }],
})

/** A TXT record of one character string; at most 255 bytes of ASCII. */
export function text(name: string, ttl: number, value: string): Record {
  const bytes = Buffer.from(value, 'latin1')
  if (bytes.length > 255) throw new DnsFormatError(`${name}: a text of ${bytes.length} bytes`)
  const data = [Buffer.concat([Uint8Array.of(bytes.length), bytes])]
  return { name, type: TYPE.TXT, class: CLASS_IN, ttl, data }
}

export interface Soa {
  readonly mname: string
  readonly rname: string
  readonly serial: number
  readonly refresh: number
  readonly retry: number
  readonly expire: number
  readonly minimum: number
}

export function soa(name: string, ttl: number, soa: Soa): Record {
  const numbers = Buffer.alloc(20)
  const { serial, refresh, retry, expire, minimum } = soa
  for (const [i, n] of [serial, refresh, retry, expire, minimum].entries())
    numbers.writeUInt32BE(n, i * 4)
  const data = [{ name: soa.mname }, { name: soa.rname }, numbers]
  return { name, type: TYPE.SOA, class: CLASS_IN, ttl, data }
}

/** How long the absence that an SOA record vouches for may be remembered (RFC 2308 section 5). */
export function negativeTtl(record: Record): number | undefined {
  const numbers = record.data[2]
  if (record.type !== TYPE.SOA || !(numbers instanceof Uint8Array) || numbers.length !== 20)
    return undefined
  return Math.min(record.ttl, Buffer.from(numbers).readUInt32BE(16))
}

/** A response to `query` that says nothing yet. */
export const respond = (query: Message, fields: Partial<Message> = {}): Message => ({
  id: query.id,
  response: true,
  opcode: query.opcode,
  authoritative: false,
  truncated: false,
  recursionDesired: query.recursionDesired,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: query.checkingDisabled,
  rcode: RCODE.NOERROR,
  questions: query.questions,
  answers: [],
  authorities: [],
  additionals: [],
  edns: query.edns && { version: 0, udpBytes: UDP_BYTES, dnssecOk: query.edns.dnssecOk },
  ...fields,
})

/** What we offer to take by UDP: fits every path without fragments (DNS flag day 2020). */
export const UDP_BYTES = 1_232
/** What a client without EDNS takes (RFC 1035 section 4.2.1). */
export const UDP_BYTES_PLAIN = 512
export const MESSAGE_BYTES_MAX = 65_535
