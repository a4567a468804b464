import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './codec.ts'
import { canonicalName, DnsFormatError, isWithin, labelsOf, parentOf } from './name.ts'
import { address, addressText, type Message, negativeTtl, soa, TYPE } from './records.ts'

const label = fc.oneof(
  fc.stringMatching(/^[a-zA-Z0-9_-]{1,12}$/),
  fc
    .uint8Array({ minLength: 1, maxLength: 20 })
    .map((bytes) =>
      [...bytes]
        .map((b) =>
          b === 46 || b === 92
            ? `\\${String.fromCharCode(b)}`
            : b > 32 && b < 127
              ? String.fromCharCode(b)
              : `\\${String(b).padStart(3, '0')}`,
        )
        .join(''),
    ),
)
const name = fc.array(label, { maxLength: 6 }).map((labels) => labels.join('.'))
const u16 = fc.integer({ min: 0, max: 65_535 })
const bytes = (n: number) => fc.uint8Array({ minLength: n, maxLength: n })
const data = fc.oneof(
  fc.record({ type: fc.constant(TYPE.A), data: fc.tuple(bytes(4)) }),
  fc.record({ type: fc.constant(TYPE.AAAA), data: fc.tuple(bytes(16)) }),
  fc.record({
    type: fc.constantFrom(TYPE.NS, TYPE.CNAME, 39),
    data: fc.tuple(fc.record({ name })),
  }),
  fc.record({ type: fc.constant(TYPE.MX), data: fc.tuple(bytes(2), fc.record({ name })) }),
  fc.record({ type: fc.constant(TYPE.SRV), data: fc.tuple(bytes(6), fc.record({ name })) }),
  fc.record({
    type: fc.constant(TYPE.SOA),
    data: fc.tuple(fc.record({ name }), fc.record({ name }), bytes(20)),
  }),
  fc.record({
    type: fc.constantFrom(TYPE.TXT, 257, 65_280),
    data: fc.tuple(fc.uint8Array({ maxLength: 80 })),
  }),
)
const record = fc
  .record({ name, class: u16, ttl: fc.integer({ min: 0, max: 0xffffffff }), rest: data })
  .map(({ rest, ...r }) => ({ ...r, ...rest }))
const records = fc.array(record, { maxLength: 5 })
const flag = fc.boolean()
const message: fc.Arbitrary<Message> = fc
  .record({
    id: u16,
    response: flag,
    opcode: fc.integer({ min: 0, max: 15 }),
    authoritative: flag,
    truncated: flag,
    recursionDesired: flag,
    recursionAvailable: flag,
    authenticData: flag,
    checkingDisabled: flag,
    rcode: fc.integer({ min: 0, max: 4_095 }),
    questions: fc.array(fc.record({ name, type: u16, class: u16 }), { maxLength: 2 }),
    answers: records,
    authorities: records,
    additionals: records,
    edns: fc.option(
      fc.record({ version: fc.integer({ min: 0, max: 255 }), udpBytes: u16, dnssecOk: flag }),
    ),
  })
  .map((m) => (m.edns ? m : { ...m, rcode: m.rcode & 15 }))

/** Lower case, because compression makes one name of two that differ in case. */
const lower = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_key, v) =>
      v instanceof Uint8Array ? [...v] : typeof v === 'string' ? canonicalName(v) : v,
    ),
  )

test('whatever is encoded decodes to the same', () => {
  fc.assert(
    fc.property(message, (m) => {
      assert.deepEqual(lower(decode(encode(m))), lower(m))
    }),
    { numRuns: 200 },
  )
})

test('any bytes decode or are a format error, and what decodes encodes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      try {
        encode(decode(input))
      } catch (error) {
        assert.ok(error instanceof DnsFormatError, String(error))
      }
    }),
    { numRuns: 200 },
  )
})

test('messages with a few bytes changed decode or are a format error', () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 })
  fc.assert(
    fc.property(message, changes, fc.nat(), (m, list, cut) => {
      const input = encode(m)
      for (const [at, value] of list) input[at % input.length] = value
      try {
        encode(decode(input.subarray(0, cut % 4 === 0 ? cut % input.length : undefined)))
      } catch (error) {
        assert.ok(error instanceof DnsFormatError, String(error))
      }
    }),
    { numRuns: 200 },
  )
})

test('a message that is too long is truncated, keeps its question and says so', () => {
  fc.assert(
    fc.property(message, fc.integer({ min: 12, max: 600 }), (m, max) => {
      const out = encode(m, max)
      const back = decode(out)
      if (out.length > max) assert.equal(back.answers.length, 0)
      if (back.answers.length < m.answers.length) assert.ok(back.truncated)
      assert.equal(back.questions.length, m.questions.length)
    }),
  )
})

const header = (counts: number[]) => {
  const b = Buffer.alloc(12)
  for (const [i, n] of counts.entries()) b.writeUInt16BE(n, 4 + 2 * i)
  return b
}
const question = (...name: number[]) =>
  Buffer.concat([header([1, 0, 0, 0]), Buffer.from([...name, 0, 1, 0, 1])])

test('hostile names are refused', () => {
  const cases: [string, Buffer][] = [
    ['a pointer to itself', question(0xc0, 12)],
    ['a pointer forwards', question(0xc0, 20)],
    ['a pointer to the pointer before it', question(1, 97, 0xc0, 12)],
    ['an unknown kind of label', question(0x80, 0)],
    ['a label beyond the end', question(63, 97, 0)],
    ['256 bytes', question(...Array.from({ length: 128 }, () => [1, 97]).flat(), 0)],
    ['bytes after the message', Buffer.concat([question(0), Buffer.from([0])])],
    ['a count that is not true', header([0, 1, 0, 0])],
    ['half a header', Buffer.alloc(11)],
    [
      'an A record of five bytes',
      Buffer.concat([
        header([0, 1, 0, 0]),
        Buffer.from([0, 0, 1, 0, 1, 0, 0, 0, 5, 0, 5, 1, 2, 3, 4, 5]),
      ]),
    ],
    [
      'two OPT records',
      Buffer.concat([
        header([0, 0, 0, 2]),
        ...[0, 1].map(() => Buffer.from([0, 0, 41, 4, 0, 0, 0, 0, 0, 0, 0])),
      ]),
    ],
  ]
  for (const [what, input] of cases) assert.throws(() => decode(input), DnsFormatError, what)
  assert.equal(
    decode(question(...Array.from({ length: 127 }, () => [1, 97]).flat(), 0)).questions.length,
    1,
  )
})

test('a chain of pointers is short work, however long', () => {
  // Pointers that each point to the one before: 8,000 of them, and a thousand names at their end.
  const body: number[] = [0]
  for (let at = 13; at < 16_000; at += 2)
    body.push(0xc0 | ((at - (at === 13 ? 1 : 2)) >> 8), (at - (at === 13 ? 1 : 2)) & 255)
  assert.throws(
    () => decode(Buffer.concat([header([1, 0, 0, 0]), Buffer.from(body)])),
    DnsFormatError,
  )
})

test('names: text and back, zones, parents', () => {
  fc.assert(
    fc.property(name, (text) => {
      assert.equal(
        labelsOf(text).length,
        text === '' ? 0 : text.replace(/\\./g, '').split('.').length,
      )
      assert.ok(isWithin(text, '') && isWithin(text, text) && isWithin(text, parentOf(text)))
    }),
  )
  assert.equal(canonicalName('Hello.Fairway.TEST.'), 'hello.fairway.test')
  assert.ok(!isWithin('evilfairway.test', 'fairway.test'))
  assert.ok(!isWithin('evil\\.fairway.test', 'fairway.test'))
  assert.ok(isWithin('label\\\\.fairway.test', 'fairway.test'))
  assert.equal(canonicalName('a\\.'), 'a\\.')
  assert.equal(canonicalName('a\\\\.'), 'a\\\\')
  for (const bad of ['a..b', '.a', 'a.', 'x'.repeat(64), 'é\u0416.test', 'a\\999'])
    assert.throws(() => labelsOf(bad), DnsFormatError, bad)
})

test('records: addresses and what an SOA says of absence', () => {
  for (const text of ['203.0.113.9', '0.0.0.0', '2001:db8::1', '::'])
    assert.equal(addressText(address('x', 5, text)), text)
  assert.throws(() => address('x', 5, 'nonsense'), DnsFormatError)
  const numbers = { serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 30 }
  assert.equal(negativeTtl(soa('x', 60, { mname: 'a', rname: 'b', ...numbers })), 30)
  assert.equal(negativeTtl(soa('x', 5, { mname: 'a', rname: 'b', ...numbers })), 5)
})
