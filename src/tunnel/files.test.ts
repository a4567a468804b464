import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { filesFirst, withEntries, withoutEntries } from './hosts-file.ts'
import { loopbackAddress } from './loopback.ts'
import { parseSockets, plainAddress } from './proc-net.ts'
import { resolverFile } from './resolver-file.ts'

const HOSTS =
  '127.0.0.1\tlocalhost\n# 10.0.0.1 db.test\n10.0.0.2 DB.test other # db.test\n10.0.0.3 db.test.\n'

test('hosts: our entries first and alone, for both families', () => {
  const text = withEntries(HOSTS, [{ name: 'db.test', address: '127.77.0.1' }], 12)
  assert.equal(
    text,
    '# fairway-tunnel 12 begin\n127.77.0.1\tdb.test\n::ffff:127.77.0.1\tdb.test\n# fairway-tunnel 12 end\n' +
      '127.0.0.1\tlocalhost\n# 10.0.0.1 db.test\n10.0.0.2\tother\n',
  )
})

test('hosts: what was added goes again, with what dead tunnels left, and the rest stays', () => {
  const owner = fc.constantFrom(1, 12, 13)
  fc.assert(
    fc.property(fc.array(owner, { maxLength: 3 }), (owners) => {
      const other = '127.0.0.1\tlocalhost\n'
      const entry = (pid: number) => [{ name: `n${pid}.test`, address: '127.77.0.1' }]
      const full = owners.reduce((text, pid) => withEntries(text, entry(pid), pid), other)
      const alive = withoutEntries(full, 12, (pid) => pid === 13)
      assert.equal(alive.includes('n13.test'), owners.includes(13))
      assert.ok(!alive.includes('n12.test') && !/\tn1\.test/.test(alive), alive)
      assert.ok(alive.endsWith(other))
      if (!owners.includes(13)) assert.equal(alive, other)
    }),
  )
})

test('nsswitch and resolv.conf', () => {
  assert.equal(
    filesFirst('passwd: files\nhosts: resolve [!UNAVAIL=return] files\nnetworks: files'),
    'passwd: files\nhosts: files dns\nnetworks: files',
  )
  const text = 'nameserver 1.1.1.1\nsearch a.test\noptions ndots:5\n'
  assert.equal(resolverFile(text, '127.0.0.5', true), 'nameserver 127.0.0.5\n')
  assert.equal(
    resolverFile(text, '127.0.0.5', false),
    'nameserver 127.0.0.5\nsearch a.test\noptions ndots:5\n',
  )
})

test('sockets as /proc/net/tcp and tcp6 show them', () => {
  const text = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid',
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1',
    '   1: 0100007F:D431 070200C0:0050 01 00000000:00000000 00:00000000 00000000     0        0 1',
    '  10: 0000000000000000FFFF00000100007F:0016 0000000000000000FFFF0000070200C0:0050 01 0:0 0:0 0',
    '  11: B80D0120000000000000000001000000:0016 00000000000000000000000001000000:0050 06 0:0 0:0 0',
    'garbage',
  ].join('\n')
  assert.deepEqual(
    [...parseSockets(text)].map(({ local, remote, isListening }) =>
      [local.host, local.port, remote.host, remote.port, isListening].join(' '),
    ),
    [
      '127.0.0.1 8080 0.0.0.0 0 true',
      '127.0.0.1 54321 192.0.2.7 80 false',
      '127.0.0.1 22 192.0.2.7 80 false',
      '2001:db8::1 22 ::1 80 false',
    ],
  )
  assert.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  assert.equal(plainAddress('2001:DB8:0::1'), '2001:db8::1')
  fc.assert(fc.property(fc.string(), (text) => void [...parseSockets(text)]))
})

test('loopback addresses keep to their range', () => {
  fc.assert(
    fc.property(fc.nat({ max: 4_194_304 }), fc.nat({ max: 400 }), (pid, index) => {
      const [a, b, c, d] = loopbackAddress(pid, index).split('.').map(Number)
      assert.ok(a === 127 && b! >= 64 && b! <= 127 && c! <= 255 && d! >= 1 && d! <= 254)
    }),
  )
})
