import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatIp, parseIp, parsePrefix, prefixContains } from '../base/ip.ts'
import { parseAllowEntry, parseHost } from '../model/destination.ts'
import { DestinationPolicy, PrefixSet, REFUSED_PREFIXES } from './destination.ts'

const NEVER = new PrefixSet(['203.0.113.2/32', '2001:db8:1::2/128'])
const anything = new DestinationPolicy([], NEVER)

const dial = (policy: DestinationPolicy, host: string, port: number, address = host) => {
  const destination = { ...parseHost(host)!, port }
  const ip = parseIp(address)!
  return policy.mayAsk(destination) && policy.mayDial(destination, address, ip.family)
}

test('hosts: names and addresses, canonical; nothing that a resolver could read as an address', () => {
  const cases: [string, string | null][] = [
    ['Example.COM', 'example.com'],
    ['example.com.', 'example.com'],
    ['_sip._tcp.example.com', '_sip._tcp.example.com'],
    ['198.51.100.7', '198.51.100.7'],
    ['2001:DB8::0:1', '2001:db8::1'],
    ['2130706433', null],
    ['0x7f000001', null],
    ['0x7f.1', null],
    ['127.1', null],
    ['0177.0.0.1', null],
    ['127.0.0.01', null],
    ['127.0.0.1.', null],
    ['1.2.3.4.5', null],
    ['fe80::1%eth0', null],
    ['::ffff:127.0.0.1', '::ffff:7f00:1'],
    ['-a.example', null],
    ['a..b', null],
    ['a b', null],
    ['a\0b', null],
    ['ex\u0430mple.com', null],
    ['', null],
    ['.', null],
    [`${'a'.repeat(64)}.example`, null],
    ['a.'.repeat(127), 'a.'.repeat(127).slice(0, -1)],
    ['a.'.repeat(128), null],
  ]
  for (const [text, want] of cases) assert.equal(parseHost(text)?.host ?? null, want, text)
})

test('addresses that are not public are refused, in every form', () => {
  for (const address of [
    ...['0.0.0.0', '10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.31.255.255'],
    ...['192.168.1.1', '224.0.0.1', '240.0.0.1', '255.255.255.255', '192.0.0.170'],
    ...['::', '::1', '::ffff:8.8.8.8', '::8.8.8.8', '64:ff9b::8.8.8.8', '64:ff9b:1::1'],
    ...['fc00::1', 'fdaa::3', 'fd00:ec2::254', 'fe80::1', 'fec0::1', 'ff02::1', '100::1'],
    ...['2002:7f00:1::', '2001::1', '2001:0:1::1', '5f00::1', '203.0.113.2', '2001:db8:1::2'],
  ]) {
    const { host } = parseHost(address)!
    assert.equal(dial(anything, host, 443), false, address)
    assert.equal(dial(anything, 'rebound.example', 443, host), false, `a name for ${address}`)
  }
  for (const address of ['8.8.8.8', '198.19.1.2', '172.32.0.1', '2606:4700::1', '2001:db8::5'])
    assert.equal(dial(anything, address, 443), true, address)
})

test('an address is refused exactly when a refused prefix contains it', () => {
  const prefixes = REFUSED_PREFIXES.map((text) => parsePrefix(text)!)
  const ip = fc.oneof(
    fc.record({ family: fc.constant(4 as const), bits: fc.bigInt(0n, 2n ** 32n - 1n) }),
    fc.record({ family: fc.constant(6 as const), bits: fc.bigInt(0n, 2n ** 128n - 1n) }),
  )
  fc.assert(
    fc.property(ip, (value) => {
      const want = !prefixes.some((prefix) => prefixContains(prefix, value))
      assert.equal(dial(anything, formatIp(value), 443), want)
    }),
    { numRuns: 2_000 },
  )
})

test('allow-lists: hosts, suffixes, prefixes, ports', () => {
  const policy = new DestinationPolicy(
    [
      'api.partner.example:443',
      '*.cdn.example',
      '198.51.100.0/24:5000-5432',
      '[2001:db8:5::]/48:80',
    ],
    NEVER,
  )
  const cases: [string, number, string, boolean][] = [
    ['api.partner.example', 443, '8.8.8.8', true],
    ['api.partner.example', 80, '8.8.8.8', false],
    ['x.api.partner.example', 443, '8.8.8.8', false],
    ['a.cdn.example', 80, '8.8.8.8', true],
    ['cdn.example', 80, '8.8.8.8', false],
    ['evilcdn.example', 80, '8.8.8.8', false],
    ['198.51.100.9', 5432, '198.51.100.9', true],
    ['198.51.100.9', 80, '198.51.100.9', false],
    ['db.example', 5432, '198.51.100.9', true],
    ['db.example', 5432, '198.51.101.9', false],
    ['2001:db8:5::9', 80, '2001:db8:5::9', true],
    ['8.8.8.8', 443, '8.8.8.8', false],
  ]
  for (const [host, port, address, want] of cases)
    assert.equal(dial(policy, host, port, address), want, `${host}:${port} at ${address}`)
})

test('a private prefix is open when it is written down, and only by that', () => {
  const policy = new DestinationPolicy(['*', '10.0.0.0/8:5432', 'db.example'], NEVER)
  assert.equal(dial(policy, '10.1.2.3', 5432), true)
  assert.equal(dial(policy, '10.1.2.3', 80), false)
  assert.equal(dial(policy, 'db.example', 80, '192.168.0.1'), false, 'a name opens nothing')
  assert.equal(dial(policy, 'other.example', 80, '8.8.8.8'), true)
  const greedy = new DestinationPolicy(['0.0.0.0/0', '::/0'], NEVER)
  assert.equal(dial(greedy, '203.0.113.2', 9293), false, "the operator's own stays closed")
  assert.equal(dial(greedy, '::ffff:cb00:7102', 9293), true)
})

test('allow entries that are no destination are refused with the fix', () => {
  for (const text of [
    '',
    '*.',
    'a b',
    'host:0',
    'host:70000',
    'host:9-5',
    '*.1.2',
    '300.1.1.1',
    '10.0.0.0/33',
    'http://x',
    'a*.example',
  ])
    assert.throws(() => parseAllowEntry(text), /allow: ".*write a host/, text)
  assert.throws(() => new DestinationPolicy(Array(257).fill('a.example'), NEVER), /at most 256/)
})
