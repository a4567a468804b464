import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  addressAt,
  canonicalIp,
  formatIp,
  formatPrefix,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixSize,
  unmapped,
} from './ip.ts'

test('canonical text is RFC 5952 for IPv6 and dotted for IPv4', () => {
  const cases: [string, string | undefined][] = [
    ['203.0.113.7', '203.0.113.7'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8:0:1:0:0:0:1', '2001:db8:0:1::1'],
    ['2001:0:0:1:0:0:1:1', '2001::1:0:0:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
    ['1:0:2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['fe80::1%eth0', undefined],
    ['203.0.113.07', undefined],
    ['203.0.113', undefined],
    ['', undefined],
    ['::1::', undefined],
  ]
  for (const [text, want] of cases) assert.equal(canonicalIp(text), want, text)
})

test('any address survives the way to text and back', () => {
  const value = fc.oneof(
    fc.record({ family: fc.constant(4 as const), bits: fc.bigInt(0n, 2n ** 32n - 1n) }),
    fc.record({ family: fc.constant(6 as const), bits: fc.bigInt(0n, 2n ** 128n - 1n) }),
    // Mostly zero groups, where the shortening is.
    fc
      .array(fc.constantFrom(0n, 0n, 0n, 1n, 0xffffn), { minLength: 8, maxLength: 8 })
      .map((g) => ({ family: 6 as const, bits: g.reduce<bigint>((b, x) => (b << 16n) | x, 0n) })),
  )
  fc.assert(fc.property(value, (ip) => assert.deepEqual(parseIp(formatIp(ip)), { ...ip })))
})

test('the URL parser agrees about every IPv6 text', () => {
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 128n - 1n), (bits) => {
      const text = formatIp({ family: 6, bits })
      assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`)
    }),
  )
})

test('prefixes: parsed, masked, counted', () => {
  const p = parsePrefix('203.0.113.77/26')!
  assert.equal(formatPrefix(p), '203.0.113.64/26')
  assert.equal(prefixSize(p), 64n)
  assert.equal(addressAt(p, 63n), '203.0.113.127')
  assert.throws(() => addressAt(p, 64n), RangeError)
  assert.ok(prefixContains(p, parseIp('203.0.113.64')!))
  assert.ok(!prefixContains(p, parseIp('203.0.113.128')!))
  assert.ok(!prefixContains(p, parseIp('2001:db8::1')!))
  for (const bad of [
    '203.0.113.0/33',
    '203.0.113.0/',
    '203.0.113.0/-1',
    'x/24',
    '2001:db8::/129',
  ]) {
    assert.equal(parsePrefix(bad), undefined, bad)
  }
})

test('addresses of dual-stack sockets lose their IPv4 mapping, others keep theirs', () => {
  assert.equal(unmapped('::ffff:203.0.113.7'), '203.0.113.7')
  assert.equal(unmapped('2001:db8::1'), '2001:db8::1')
  assert.equal(unmapped('203.0.113.7'), '203.0.113.7')
})
