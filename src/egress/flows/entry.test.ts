import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalIp } from '../../base/ip.ts'
import { addressForms, lingers, parseEntry, sourceOf } from './entry.ts'

const PROC =
  'ipv4     2 tcp      6 3576 ESTABLISHED src=172.16.0.45 dst=203.0.113.202 sport=37332 dport=443 src=203.0.113.202 dst=198.51.100.1 sport=443 dport=37332 [ASSURED] mark=0 zone=0 use=2'
const PROC_V6 =
  'ipv6     10 udp      17 29 src=fdaa:0001:0001:0a7b:0001:0000:0011:0002 dst=2001:0db8:d000:0001:0000:0000:0000:0002 sport=1024 dport=53 packets=1 bytes=90 [UNREPLIED] src=2001:0db8:d000:0001:0000:0000:0000:0002 dst=2001:0db8:e001:0000:0000:0000:0000:0001 sport=53 dport=1024 packets=0 bytes=0 mark=0 zone=0 use=2'

test('entries of /proc, of conntrack -L and of its events', () => {
  const tcp = {
    ...{ proto: 'tcp', state: 'ESTABLISHED', source: '172.16.0.45', sourcePort: 37332 },
    ...{ destination: '203.0.113.202', destinationPort: 443 },
    ...{ translated: '198.51.100.1', translatedPort: 37332, bytesOut: null, bytesIn: null },
  }
  assert.deepEqual(parseEntry(PROC), tcp)
  assert.deepEqual(parseEntry(PROC.slice(PROC.indexOf('tcp'))), tcp)
  const udp = parseEntry(PROC_V6)!
  assert.equal(udp.proto, 'udp')
  assert.equal(udp.state, '')
  assert.equal(canonicalIp(udp.translated), '2001:db8:e001::1')
  assert.deepEqual([udp.bytesOut, udp.bytesIn], [90, 0])
  const ended = `tcp      6 CLOSE ${PROC.slice(PROC.indexOf('src='))}`
  assert.equal(parseEntry(ended)?.state, 'CLOSE')
})

test('other protocols and broken lines are no entries', () => {
  for (const line of [
    '',
    'ipv4     2 icmp     1 29 src=172.16.0.2 dst=198.19.1.2 type=8 code=0 id=1 src=198.19.1.2 dst=100.64.0.6 type=0 code=0 id=1 mark=0 use=1',
    PROC.replace('dport=443', 'dport=70000'),
    PROC.replace('sport=37332', 'sport='),
    PROC.slice(0, 120),
    PROC.replace('src=172.16.0.45', 'src=evil"}'),
    PROC.replace('tcp      6', 'tcpx     6'),
  ])
    assert.equal(parseEntry(line), undefined, line)
})

test('whatever comes is an entry or none, and a cut entry never has other numbers', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 400, unit: 'binary' }), (line) => {
      parseEntry(line)
      sourceOf(line)
    }),
  )
  const whole = parseEntry(PROC)!
  fc.assert(
    fc.property(fc.nat(PROC.length), (length) => {
      const cut = parseEntry(PROC.slice(0, length))
      if (cut) assert.equal(cut.translated, whole.translated)
    }),
  )
})

test('the first address is found without reading the rest', () => {
  assert.equal(sourceOf(PROC), '172.16.0.45')
  assert.equal(sourceOf(PROC_V6), 'fdaa:0001:0001:0a7b:0001:0000:0011:0002')
  assert.equal(sourceOf('src=1.2.3.4'), '')
})

test('both texts of an IPv6 address', () => {
  assert.deepEqual(addressForms('fdaa:1:1:a7b:1:0:11:2'), [
    'fdaa:1:1:a7b:1:0:11:2',
    'fdaa:0001:0001:0a7b:0001:0000:0011:0002',
  ])
  assert.deepEqual(addressForms('198.51.100.1'), ['198.51.100.1'])
  assert.deepEqual(addressForms('nonsense'), [])
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      for (const form of addressForms(address))
        assert.equal(canonicalIp(form), canonicalIp(address))
    }),
  )
})

test('only what still holds its port is in use', () => {
  const at = (state: string) => lingers(parseEntry(PROC.replace('ESTABLISHED', state))!)
  assert.deepEqual(
    ['SYN_SENT', 'ESTABLISHED', 'FIN_WAIT', 'LAST_ACK', 'TIME_WAIT', 'CLOSE'].filter(at),
    ['TIME_WAIT', 'CLOSE'],
  )
})
