import { canonicalName, DnsFormatError, labelsOf, readName } from './name.ts'
import {
  type DataPart,
  type Edns,
  MESSAGE_BYTES_MAX,
  type Message,
  type Question,
  type Record,
  TYPE,
} from './records.ts'

/**
 * DNS messages (RFC 1035) with EDNS (RFC 6891). Strict: everything is inside the message, counts are
 * true, nothing follows, names are bounded; whatever else comes is a DnsFormatError.
 */

const HEADER_BYTES = 12
/** A full message of the smallest records has 5,957. */
const RECORDS_MAX = 6_000
/** A pointer has 14 bits. */
const POINTER_MAX = 0x3fff

/**
 * How the data of a type is made: `n` a name, `s` a character string, a digit so many bytes, `*` the
 * rest. Types that are not here are bytes (RFC 3597 section 4).
 */
const LAYOUTS: { readonly [type: number]: string } = {
  [TYPE.A]: '4',
  [TYPE.NS]: 'n',
  3: 'n', // MD
  4: 'n', // MF
  [TYPE.CNAME]: 'n',
  [TYPE.SOA]: 'nn*',
  7: 'n', // MB
  8: 'n', // MG
  9: 'n', // MR
  [TYPE.PTR]: 'n',
  14: 'nn', // MINFO
  [TYPE.MX]: '2n',
  17: 'nn', // RP
  18: '2n', // AFSDB
  21: '2n', // RT
  26: '2nn', // PX
  [TYPE.SRV]: '6n',
  35: '4sssn', // NAPTR
  36: '2n', // KX
  39: 'n', // DNAME
}
const FIXED_BYTES: { readonly [type: number]: number } = { [TYPE.A]: 4, [TYPE.AAAA]: 16 }

/** The id of a message that may be anything; to say FORMERR to who sent it. */
export const idOf = (bytes: Uint8Array): number | undefined =>
  bytes.length >= 2 ? (bytes[0]! << 8) | bytes[1]! : undefined

export function decode(bytes: Uint8Array): Message {
  if (bytes.length < HEADER_BYTES) throw new DnsFormatError('shorter than a header')
  if (bytes.length > MESSAGE_BYTES_MAX) throw new DnsFormatError('longer than 65535 bytes')
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const flags = view.readUInt16BE(2)
  const [qd, an, ns, ar] = [4, 6, 8, 10].map((at) => view.readUInt16BE(at)) as [
    number,
    number,
    number,
    number,
  ]
  if (qd + an + ns + ar > RECORDS_MAX) throw new DnsFormatError('too many records')
  const reader = { view, at: HEADER_BYTES }
  const questions = times(qd, () => readQuestion(reader))
  const answers = times(an, () => readRecord(reader))
  const authorities = times(ns, () => readRecord(reader))
  const rest = times(ar, () => readRecord(reader))
  if (reader.at !== view.length) throw new DnsFormatError('bytes follow the message')
  if ([...answers, ...authorities].some((r) => r.type === TYPE.OPT))
    throw new DnsFormatError('an OPT record outside the additional section')
  const opts = rest.filter((r) => r.type === TYPE.OPT)
  if (opts.length > 1 || (opts[0] && opts[0].name !== ''))
    throw new DnsFormatError('more than one OPT record, or one with a name')
  const opt = opts[0]
  return {
    id: view.readUInt16BE(0),
    response: (flags & 0x8000) !== 0,
    opcode: (flags >> 11) & 15,
    authoritative: (flags & 0x0400) !== 0,
    truncated: (flags & 0x0200) !== 0,
    recursionDesired: (flags & 0x0100) !== 0,
    recursionAvailable: (flags & 0x0080) !== 0,
    authenticData: (flags & 0x0020) !== 0,
    checkingDisabled: (flags & 0x0010) !== 0,
    rcode: (flags & 15) | (opt ? (opt.ttl >>> 24) << 4 : 0),
    questions,
    answers,
    authorities,
    additionals: rest.filter((r) => r.type !== TYPE.OPT),
    edns: opt ? ednsOf(opt) : null,
  }
}

const ednsOf = ({ class: udpBytes, ttl }: Record): Edns => ({
  version: (ttl >> 16) & 255,
  udpBytes,
  dnssecOk: (ttl & 0x8000) !== 0,
})

interface Reader {
  readonly view: Buffer
  at: number
}

function times<T>(count: number, read: () => T): T[] {
  const list: T[] = []
  for (let i = 0; i < count; i++) list.push(read())
  return list
}

function take(reader: Reader, bytes: number): number {
  const at = reader.at
  if (at + bytes > reader.view.length) throw new DnsFormatError('the message ends too early')
  reader.at += bytes
  return at
}

function takeName(reader: Reader): string {
  const { name, end } = readName(reader.view, reader.at)
  reader.at = end
  return name
}

function readQuestion(reader: Reader): Question {
  const name = takeName(reader)
  const at = take(reader, 4)
  return { name, type: reader.view.readUInt16BE(at), class: reader.view.readUInt16BE(at + 2) }
}

function readRecord(reader: Reader): Record {
  const { view } = reader
  const name = takeName(reader)
  const at = take(reader, 10)
  const type = view.readUInt16BE(at)
  const length = view.readUInt16BE(at + 8)
  const start = take(reader, length)
  const fixed = FIXED_BYTES[type]
  if (fixed !== undefined && length !== fixed)
    throw new DnsFormatError(`data of type ${type} has ${length} bytes`)
  const data = readData(view, LAYOUTS[type] ?? '*', start, start + length)
  return { name, type, class: view.readUInt16BE(at + 2), ttl: view.readUInt32BE(at + 4), data }
}

function readData(view: Buffer, layout: string, start: number, end: number): DataPart[] {
  const parts: DataPart[] = []
  let at = start
  for (const kind of layout) {
    if (kind === 'n') {
      const read = readName(view, at)
      parts.push({ name: read.name })
      at = read.end
    } else {
      const length = kind === '*' ? end - at : kind === 's' ? (view[at] ?? 0) + 1 : Number(kind)
      parts.push(Uint8Array.from(view.subarray(at, at + length)))
      at += length
    }
    if (at > end) throw new DnsFormatError('data of a record is longer than it says')
  }
  if (at !== end) throw new DnsFormatError('data of a record is shorter than it says')
  return parts
}

/**
 * The bytes of a message, at most `maxBytes`. What does not fit leaves the records out and sets TC,
 * so that the client comes back by TCP (RFC 2181 section 9).
 */
export function encode(message: Message, maxBytes = MESSAGE_BYTES_MAX): Buffer {
  const whole = write(message)
  if (whole.length <= maxBytes) return whole
  return write({ ...message, truncated: true, answers: [], authorities: [], additionals: [] })
}

function write(message: Message): Buffer {
  const writer = new Writer()
  const additionals = message.edns
    ? [...message.additionals, optOf(message.edns, message.rcode)]
    : message.additionals
  writer.u16(message.id)
  writer.u16(flagsOf(message))
  const sections = [message.answers, message.authorities, additionals]
  for (const list of [message.questions, ...sections]) writer.u16(list.length)
  for (const question of message.questions) {
    writer.name(question.name)
    writer.u16(question.type)
    writer.u16(question.class)
  }
  for (const record of sections.flat()) writer.record(record)
  return writer.bytes()
}

function flagsOf(m: Message): number {
  const bit = (on: boolean, value: number) => (on ? value : 0)
  return (
    bit(m.response, 0x8000) |
    ((m.opcode & 15) << 11) |
    bit(m.authoritative, 0x0400) |
    bit(m.truncated, 0x0200) |
    bit(m.recursionDesired, 0x0100) |
    bit(m.recursionAvailable, 0x0080) |
    bit(m.authenticData, 0x0020) |
    bit(m.checkingDisabled, 0x0010) |
    (m.rcode & 15)
  )
}

const optOf = (edns: Edns, rcode: number): Record => ({
  name: '',
  type: TYPE.OPT,
  class: edns.udpBytes,
  ttl: ((((rcode >> 4) & 255) << 24) | (edns.version << 16) | (edns.dnssecOk ? 0x8000 : 0)) >>> 0,
  data: [],
})

class Writer {
  #buffer = Buffer.alloc(512)
  #at = 0
  /** Offsets of names that were written, by their canonical text. */
  readonly #names = new Map<string, number>()

  u16(value: number): void {
    this.#room(2)
    this.#at = this.#buffer.writeUInt16BE(value & 0xffff, this.#at)
  }

  u32(value: number): void {
    this.#room(4)
    this.#at = this.#buffer.writeUInt32BE(value >>> 0, this.#at)
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /** `compress` is for names in data of types that are newer than RFC 1035: they must stay whole. */
  name(name: string, compress = true): void {
    const labels = labelsOf(name)
    for (const [i, label] of labels.entries()) {
      const suffix = suffixText(labels, i)
      const known = this.#names.get(suffix)
      if (compress && known !== undefined) {
        this.u16(0xc000 | known)
        return
      }
      if (this.#at <= POINTER_MAX && known === undefined) this.#names.set(suffix, this.#at)
      this.raw(Uint8Array.of(label.length))
      this.raw(label)
    }
    this.raw(Uint8Array.of(0))
  }

  record(record: Record): void {
    this.name(record.name)
    this.u16(record.type)
    this.u16(record.class)
    this.u32(record.ttl)
    const lengthAt = this.#at
    this.u16(0)
    for (const part of record.data) {
      if (part instanceof Uint8Array) this.raw(part)
      else this.name(part.name, record.type <= TYPE.MX)
    }
    const length = this.#at - lengthAt - 2
    if (length > MESSAGE_BYTES_MAX) throw new DnsFormatError('data of a record is too long')
    this.#buffer.writeUInt16BE(length, lengthAt)
  }

  bytes(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at))
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#at + bytes))
    larger.set(this.#buffer)
    this.#buffer = larger
  }
}

const suffixText = (labels: readonly Uint8Array[], from: number): string =>
  canonicalName(
    labels
      .slice(from)
      .map((l) => `${l.length}:${Buffer.from(l).toString('latin1')}`)
      .join(''),
  )
