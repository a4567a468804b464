import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decode, encode } from './codec.ts'
import { ClientRates, limitedHandler } from './rates.ts'
import { addressText, CLASS_IN, type Message, RCODE, respond, TYPE } from './records.ts'
import { addressOf, whoamiHandler } from './whoami.ts'

const queryFor = (name: string, type: number): Message => ({
  ...respond({ id: 7, opcode: 0, recursionDesired: true, checkingDisabled: false } as Message),
  response: false,
  questions: [{ name, type, class: CLASS_IN }],
  edns: null,
})
const client = (address: string, protocol: 'udp' | 'tcp' = 'udp') => ({ address, protocol })
const handler = whoamiHandler({
  zones: ['whoami.fairway.test'],
  nameServer: 'ns1.fairway.test',
  addressesOf: addressOf,
})
/** Through the wire, as a client would see it. */
const ask = async (name: string, type: number, from: string) =>
  decode(encode((await handler(queryFor(name, type), client(from)))!))
const texts = (message: Message) =>
  message.answers.map(
    (r) =>
      addressText(r) ??
      Buffer.from(r.data[0] as Uint8Array)
        .subarray(1)
        .toString(),
  )

test('a caller learns its address, as text and as an address', async () => {
  for (const [from, type] of [
    ['198.18.1.2', TYPE.A],
    ['2001:db8:c000:1::2', TYPE.AAAA],
  ] as const) {
    assert.deepEqual(texts(await ask('whoami.fairway.test', TYPE.TXT, from)), [from])
    assert.deepEqual(texts(await ask('WhoAmI.Fairway.test', type, from)), [from])
    const other = await ask('whoami.fairway.test', TYPE.A + TYPE.AAAA - type, from)
    assert.deepEqual([other.rcode, other.answers.length], [RCODE.NOERROR, 0])
    assert.equal(other.authorities[0]?.type, TYPE.SOA)
    assert.equal(other.authorities[0]?.ttl, 0, 'the next asker is another one')
  }
})

test('SOA and NS name the server; ANY is refused; nothing is below', async () => {
  const at = '198.18.1.2'
  assert.equal((await ask('whoami.fairway.test', TYPE.SOA, at)).answers[0]?.type, TYPE.SOA)
  const [ns] = (await ask('whoami.fairway.test', TYPE.NS, at)).answers
  assert.deepEqual(ns?.data, [{ name: 'ns1.fairway.test' }])
  assert.equal((await ask('whoami.fairway.test', TYPE.ANY, at)).rcode, RCODE.REFUSED)
  assert.equal((await ask('x.whoami.fairway.test', TYPE.TXT, at)).rcode, RCODE.NXDOMAIN)
  assert.equal(handler(queryFor('hello.fairway.test', TYPE.A), client(at)), undefined)
  assert.equal(handler(queryFor('xwhoami.fairway.test', TYPE.A), client(at)), undefined)
})

test('an answer is never more than three times its question', async () => {
  const types = [TYPE.A, TYPE.AAAA, TYPE.TXT, TYPE.NS, TYPE.SOA, TYPE.MX, TYPE.ANY, 257]
  const from = '2001:db8:ffff:ffff:ffff:ffff:ffff:ffff'
  for (const name of ['whoami.fairway.test', 'nobody.whoami.fairway.test'])
    for (const type of types) {
      const query = queryFor(name, type)
      const reply = encode((await handler(query, client(from)))!)
      const [asked, said] = [encode(query).length, reply.length]
      assert.ok(said <= 3 * asked, `${name} type ${type}: ${said} bytes for ${asked}`)
    }
})

test('whatever is asked gets an answer that can be read, or none', async () => {
  const name = fc.oneof(
    fc.domain(),
    fc.domain().map((d) => `${d.slice(0, 60)}.whoami.fairway.test`),
  )
  const any = fc.asyncProperty(name, fc.integer({ min: 0, max: 65_535 }), async (of, type) => {
    const reply = await handler(queryFor(of, type), client('198.18.1.2'))
    if (reply) decode(encode(reply, 512))
  })
  await fc.assert(any)
})

test('a network that asks too fast comes by TCP, or hears nothing; others are as before', async () => {
  let now = 0
  const rates = new ClientRates(() => now, { perSecond: 1, atOnce: 2, networksMax: 3 })
  const limited = limitedHandler((query) => respond(query), rates)
  const query = queryFor('whoami.fairway.test', TYPE.TXT)
  const of = async (address: string, protocol?: 'udp' | 'tcp') => {
    const reply = await limited(query, client(address, protocol))
    return reply === undefined ? 'silence' : reply.truncated ? 'tcp' : 'answer'
  }
  assert.equal(await of('198.18.1.2'), 'answer')
  assert.equal(await of('198.18.1.3'), 'answer')
  assert.deepEqual([await of('198.18.1.4'), await of('198.18.1.5')], ['tcp', 'silence'])
  assert.equal(await of('198.18.1.2', 'tcp'), 'answer')
  assert.equal(await of('198.18.2.2'), 'answer')
  assert.equal(await of('2001:db8::1'), 'answer')
  now = 1_000
  assert.equal(await of('198.18.1.2'), 'answer')
  for (let i = 0; i < 20; i++) await of(`10.0.${i}.1`)
  assert.equal(rates.size, 3)
})
