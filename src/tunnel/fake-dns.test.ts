import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { test } from 'node:test'
import fc from 'fast-check'
import { serveDns } from './dns-service.ts'
import { judge } from './fake-dns.ts'
import { FakeNames, isFake } from './fake-names.ts'

test('a name has one address, which leads back to it; the oldest are forgotten', () => {
  const names = new FakeNames(3)
  const first = names.addressOf('a')
  assert.ok(isFake(first))
  assert.equal(names.addressOf('a'), first)
  for (const name of ['b', 'c', 'a', 'd']) assert.equal(names.nameOf(names.addressOf(name)), name)
  assert.equal(names.nameOf(first), 'a', 'asked for again, it is not the oldest')
  assert.notEqual(names.addressOf('b'), '127.128.0.2', 'b was the oldest')
})

test('a real resolver takes the answers', async () => {
  const server = createSocket('udp4')
  server.bind(0, '127.0.0.1')
  await once(server, 'listening')
  serveDns(server, (name) => (name === 'db.test' ? '127.128.0.1' : null), [])
  const resolver = new Resolver({ timeout: 2_000, tries: 1 })
  resolver.setServers([`127.0.0.1:${server.address().port}`])
  try {
    assert.deepEqual(await resolver.resolve4('DB.test'), ['127.128.0.1'])
    await assert.rejects(resolver.resolve6('db.test'), { code: 'ENODATA' })
  } finally {
    server.close()
  }
})

test('any bytes are answered, forwarded or dropped', () => {
  const header = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.uint8Array({ maxLength: 300 }).map((rest) => Uint8Array.from([...header, ...rest])),
  )
  fc.assert(
    fc.property(bytes, (bytes) => {
      const verdict = judge(Buffer.from(bytes), () => '127.128.0.1')
      if (verdict.t === 'answer')
        assert.deepEqual([...verdict.bytes.subarray(0, 2)], [...bytes.subarray(0, 2)])
    }),
  )
  assert.equal(judge(Buffer.alloc(11), () => null).t, 'drop')
  assert.equal(
    judge(Buffer.from([0, 1, 0x81, ...header.slice(3), 0, 0, 1, 0, 1]), () => null).t,
    'drop',
    'an answer is no question',
  )
  assert.equal(
    judge(Buffer.from([...header, 0xc0, 12, 0, 1, 0, 1]), () => null).t,
    'drop',
    'a pointer in a question',
  )
})
