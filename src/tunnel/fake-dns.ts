/** What becomes of a DNS query: our answer, the resolver's, or none at all. */
export type Verdict =
  | { readonly t: 'answer'; readonly bytes: Buffer }
  | { readonly t: 'forward' }
  | { readonly t: 'drop' }

const HEADER_BYTES = 12
const TYPE = { a: 1, aaaa: 28, https: 65 } as const
const CLASS_IN = 1
/** Addresses are made up and kept for long, but another tunnel makes up others. */
const TTL_SECONDS = 1
const DROP: Verdict = { t: 'drop' }
const FORWARD: Verdict = { t: 'forward' }

/**
 * Answers address queries (RFC 1035 4) for the names that `addressOf` knows; with no IPv6 address,
 * so that clients take the IPv4 one. Other names and types are the resolver's.
 */
export function judge(query: Buffer, addressOf: (name: string) => string | null): Verdict {
  const question = parseQuestion(query)
  if (!question) return DROP
  const { name, type, end } = question
  const isAddressQuery = type === TYPE.a || type === TYPE.aaaa || type === TYPE.https
  const address = isAddressQuery ? addressOf(name) : null
  if (address === null) return FORWARD
  return { t: 'answer', bytes: answer(query, end, type === TYPE.a ? address : null) }
}

interface Question {
  readonly name: string
  readonly type: number
  /** Where it ends in the message. */
  readonly end: number
}

/** Null for what is no plain query with one question. */
function parseQuestion(query: Buffer): Question | null {
  if (query.length < HEADER_BYTES) return null
  const isQuery = (query[2]! & 0xf8) === 0
  if (!isQuery || query.readUInt16BE(4) !== 1) return null
  const labels: string[] = []
  let at = HEADER_BYTES
  for (;;) {
    const length = query[at]
    // A question has no pointers, and a name no more than 255 bytes.
    if (length === undefined || length > 63 || at - HEADER_BYTES > 255) return null
    at += 1
    if (length === 0) break
    labels.push(query.toString('latin1', at, at + length))
    at += length
  }
  if (at + 4 > query.length || query.readUInt16BE(at + 2) !== CLASS_IN) return null
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at), end: at + 4 }
}

function answer(query: Buffer, questionEnd: number, address: string | null): Buffer {
  const head = Buffer.from(query.subarray(0, questionEnd))
  // QR and RA, with RD as asked; NOERROR. One question, no EDNS.
  head.writeUInt16BE(0x8080 | (head.readUInt16BE(2) & 0x0100), 2)
  head.writeUInt16BE(address === null ? 0 : 1, 6)
  head.writeUInt32BE(0, 8)
  if (address === null) return head
  const record = Buffer.alloc(16)
  record.writeUInt16BE(0xc000 | HEADER_BYTES, 0)
  record.writeUInt16BE(TYPE.a, 2)
  record.writeUInt16BE(CLASS_IN, 4)
  record.writeUInt32BE(TTL_SECONDS, 6)
  record.writeUInt16BE(4, 10)
  record.set(address.split('.').map(Number), 12)
  return Buffer.concat([head, record])
}
