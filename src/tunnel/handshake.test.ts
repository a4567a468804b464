import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TunnelError } from './failure.ts'
import { type Handshake, handshake } from './handshake.ts'
import { HEAD_MAX_BYTES } from './http-connect.ts'
import type { OutboundProxy } from './proxy-url.ts'
import { v6Bytes } from './socks5.ts'

const base: OutboundProxy = {
  ...{ protocol: 'connect', tls: false, host: 'p', port: 1 },
  credentials: { user: 'u', password: 'hunter2' },
}
const to = { host: 'db.test', port: 5432 }
const connect = () => handshake(base, to)
const socks = (credentials = base.credentials) =>
  handshake({ ...base, protocol: 'socks5', credentials }, to)

/** Feeds the bytes cut at `cuts`; what came of it, with everything that was sent back. */
function converse(talk: Handshake, bytes: Buffer, cuts: readonly number[] = []) {
  const sent: Buffer[] = []
  let left: Buffer | undefined
  const ends = [...cuts.map((n) => n % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  let from = 0
  for (const end of ends) {
    const chunk = bytes.subarray(from, end)
    from = end
    if (chunk.length === 0) continue
    if (left !== undefined) {
      left = Buffer.concat([left, chunk])
      continue
    }
    const step = talk.push(chunk)
    if (step.t === 'send') sent.push(step.bytes)
    if (step.t === 'open') left = step.rest
  }
  return { left, sent: Buffer.concat(sent) }
}

test('CONNECT: the request, with credentials and without', () => {
  assert.equal(
    connect().first.toString(),
    `CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\nProxy-Authorization: Basic ${btoa('u:hunter2')}\r\n\r\n`,
  )
  const open = handshake({ ...base, credentials: null }, { host: '2001:db8::1', port: 1 })
  assert.equal(
    open.first.toString(),
    'CONNECT [2001:db8::1]:1 HTTP/1.1\r\nHost: [2001:db8::1]:1\r\n\r\n',
  )
})

test('CONNECT: an answer in any pieces, and what follows it is kept', () => {
  const answer = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello'
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 6 }), (cuts) => {
      assert.equal(converse(connect(), Buffer.from(answer), cuts).left?.toString(), 'hello')
    }),
  )
})

test('CONNECT: refusals in plain words, without the password', () => {
  for (const [answer, error] of [
    ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', /credentials \(407\)/],
    ['HTTP/1.1 403 Forbidden\r\n\r\n', /does not allow this destination \(403\)/],
    ['HTTP/1.1 502 Bad\r\n\r\n', /cannot reach the destination \(502\)/],
    ['HTTP/1.1 504 Late\r\n\r\n', /no answer from the destination in time \(504\)/],
    ['HTTP/1.1 418\r\n\r\n', /answered 418/],
    ['HTTP/1.1 101 Switching\r\n\r\n', /answered 101/],
    ['SSH-2.0-x', /does not speak HTTP/],
    ['HTTP/2 200\r\n\r\n', /does not speak HTTP/],
    ['HTTP/1.1 20 OK\r\n\r\n', /does not speak HTTP/],
    ['HTTP/1.1 200 OK\nX: y\r\n\r\n', /does not speak HTTP/],
    ['HTTP/1.1 200 OK\r\n bad\r\n\r\n', /does not speak HTTP/],
    ['HTTP/1.1 200 OK\r\nno colon\r\n\r\n', /does not speak HTTP/],
    [`HTTP/1.1 200 ${'x'.repeat(HEAD_MAX_BYTES)}`, /endless head/],
  ] as const)
    assert.throws(
      () => converse(connect(), Buffer.from(answer)),
      (thrown) =>
        thrown instanceof TunnelError &&
        error.test(thrown.message) &&
        !/hunter2/.test(thrown.message),
      answer.slice(0, 40),
    )
})

const REPLY = [5, 0, 0, 1, 127, 0, 0, 1, 0, 80]

test('SOCKS5: with a password, in any pieces', () => {
  const bytes = Buffer.concat([Buffer.from(REPLY), Buffer.from('hello')])
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 6 }), (cuts) => {
      const talk = socks()
      assert.deepEqual([...talk.first], [5, 2, 0, 2])
      const asked = converse(talk, Buffer.from([5, 2])).sent
      assert.deepEqual([...asked], [1, 1, 117, 7, ...Buffer.from('hunter2')])
      const request = converse(talk, Buffer.from([1, 0])).sent
      assert.deepEqual([...request], [5, 1, 0, 3, 7, ...Buffer.from('db.test'), 0x15, 0x38])
      assert.equal(converse(talk, bytes, cuts).left?.toString(), 'hello')
    }),
  )
})

test('SOCKS5: the bound address may be a name or IPv6', () => {
  for (const bound of [
    [3, 2, 97, 98],
    [4, ...Array(16).fill(1)],
  ]) {
    const talk = socks(null)
    converse(talk, Buffer.from([5, 0]))
    const { left } = converse(talk, Buffer.from([5, 0, 0, ...bound, 0, 80, 42]), [1, 3, 5])
    assert.deepEqual([...left!], [42])
  }
})

test('SOCKS5: refusals in plain words', () => {
  const after = (talk: Handshake, ...rounds: number[][]) => {
    for (const round of rounds) converse(talk, Buffer.from(round))
  }
  assert.throws(() => after(socks(null), [5, 2]), /wants credentials/)
  assert.throws(() => after(socks(), [5, 255]), /neither a password nor none/)
  assert.throws(() => after(socks(), [5, 2], [1, 1]), /does not accept the credentials/)
  assert.throws(() => after(socks(), [5, 2], [9, 0]), /does not speak SOCKS5/)
  assert.throws(() => after(socks(), [72]), /does not speak SOCKS5/)
  assert.throws(() => after(socks(null), [5, 0, 5]), /does not speak SOCKS5/)
  assert.throws(() => after(socks(null), [5, 0], [5, 2]), /does not allow this destination/)
  assert.throws(() => after(socks(null), [5, 0], [5, 5]), /refused by the destination/)
  assert.throws(() => after(socks(null), [5, 0], [5, 99]), /code 99/)
  assert.throws(() => after(socks(null), [5, 0], [5, 0, 0, 7, 0]), /does not speak SOCKS5/)
})

test('any bytes are a step or a TunnelError, and nothing is kept without limit', () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 80 })
  const start = fc.constantFrom(
    '',
    'HTTP/1.1 ',
    '\x05\x00',
    '\x05\x02\x01\x00',
    'HTTP/1.1 200 OK\r\n',
  )
  fc.assert(
    fc.property(fc.boolean(), start, chunks, (isSocks, start, chunks) => {
      const talk = isSocks ? socks() : connect()
      try {
        for (const chunk of [Buffer.from(start, 'latin1'), ...chunks]) {
          if (chunk.length === 0) continue
          const step = talk.push(Buffer.from(chunk))
          if (step.t === 'open') return
        }
      } catch (error) {
        assert.ok(error instanceof TunnelError, String(error))
      }
    }),
  )
})

test('the bytes of IPv6 addresses', () => {
  assert.equal(v6Bytes('2001:db8::1').toString('hex'), '20010db8000000000000000000000001')
  assert.equal(v6Bytes('::').toString('hex'), '0'.repeat(32))
  assert.equal(v6Bytes('::ffff:192.0.2.1').toString('hex'), `${'0'.repeat(20)}ffffc0000201`)
  fc.assert(fc.property(fc.ipV6(), (text) => assert.equal(v6Bytes(text).length, 16)))
})
