import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode, encode } from './codec.ts'
import { addressText, CLASS_IN, type Message, RCODE, respond, TYPE } from './records.ts'
import { authoritativeHandler } from './zone.ts'

const queryFor = (name: string, type: number, fields: Partial<Message> = {}): Message => ({
  ...respond({ id: 7, opcode: 0, recursionDesired: true, checkingDisabled: false } as Message),
  response: false,
  questions: [{ name, type, class: CLASS_IN }],
  edns: null,
  ...fields,
})

const source = {
  lookup: (name: string) =>
    ({
      'hello.fairway.test': { a: ['203.0.113.1'], aaaa: ['2001:db8::1', '2001:db8::2'] },
      'six.fairway.test': { aaaa: ['2001:db8::6'] },
      'bare.fairway.test': {},
    })[name],
}
const handler = authoritativeHandler({
  zones: ['fairway.test', 'deep.fairway.test'],
  source,
  statics: { 'a.b.fairway.test': { a: ['192.0.2.1'] }, 'internet.test': { a: ['192.0.2.2'] } },
  nameServers: ['198.19.2.2', '2001:db8:d000:2::2'],
})

/** Through the wire, as a client would see it. */
const ask = async (name: string, type: number) => decode(encode(handler(queryFor(name, type))))

const SOA = (name: string) => ({ answers: [] as string[], soa: name })
const cases: [
  name: string,
  type: keyof typeof TYPE,
  rcode: keyof typeof RCODE,
  { answers: string[]; soa?: string },
][] = [
  ['hello.fairway.test', 'A', 'NOERROR', { answers: ['203.0.113.1'] }],
  ['HELLO.Fairway.test', 'AAAA', 'NOERROR', { answers: ['2001:db8::1', '2001:db8::2'] }],
  [
    'hello.fairway.test',
    'ANY',
    'NOERROR',
    { answers: ['203.0.113.1', '2001:db8::1', '2001:db8::2'] },
  ],
  ['hello.fairway.test', 'TXT', 'NOERROR', SOA('fairway.test')],
  ['six.fairway.test', 'A', 'NOERROR', SOA('fairway.test')],
  ['bare.fairway.test', 'A', 'NOERROR', SOA('fairway.test')],
  ['nobody.fairway.test', 'A', 'NXDOMAIN', SOA('fairway.test')],
  ['x.hello.fairway.test', 'A', 'NXDOMAIN', SOA('fairway.test')],
  ['a.b.fairway.test', 'A', 'NOERROR', { answers: ['192.0.2.1'] }],
  ['b.fairway.test', 'A', 'NOERROR', SOA('fairway.test')],
  ['ns.fairway.test', 'AAAA', 'NOERROR', { answers: ['2001:db8:d000:2::2'] }],
  ['x.deep.fairway.test', 'A', 'NXDOMAIN', SOA('deep.fairway.test')],
  ['fairway.test', 'A', 'NOERROR', SOA('fairway.test')],
  ['evilfairway.test', 'A', 'REFUSED', { answers: [] }],
  ['internet.test', 'A', 'REFUSED', { answers: [] }],
]

for (const [name, type, rcode, want] of cases)
  test(`${name} ${type}: ${rcode}`, async () => {
    const answer = await ask(name, TYPE[type])
    assert.equal(answer.rcode, RCODE[rcode])
    assert.equal(answer.authoritative, rcode !== 'REFUSED')
    assert.deepEqual(answer.answers.map(addressText), want.answers)
    assert.deepEqual(
      answer.authorities.map((r) => [r.type, r.name, r.ttl]),
      want.soa === undefined ? [] : [[TYPE.SOA, want.soa, 5]],
    )
    assert.ok(answer.answers.every((r) => r.ttl === 5))
  })

test('the apex has an SOA and a name server', async () => {
  assert.deepEqual((await ask('fairway.test', TYPE.NS)).answers[0]!.data, [
    { name: 'ns.fairway.test' },
  ])
  assert.equal((await ask('fairway.test', TYPE.SOA)).answers.length, 1)
})

test('a zone of the root answers for every name', async () => {
  const root = authoritativeHandler({
    zones: ['', 'fairway.test'],
    source,
    statics: { 'internet.test': { a: ['192.0.2.2'] } },
  })
  const of = async (name: string) => root(queryFor(name, TYPE.A)).rcode
  assert.equal(await of('internet.test'), RCODE.NOERROR)
  assert.equal(await of('test'), RCODE.NOERROR)
  assert.equal(await of('example.com'), RCODE.NXDOMAIN)
})
