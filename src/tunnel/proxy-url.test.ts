import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { TunnelError } from './failure.ts'
import { parseProxyUrl } from './proxy-url.ts'

test('schemes, ports and credentials', () => {
  assert.deepEqual(parseProxyUrl('http://u:p%40w@proxy.test:9293', 'X'), {
    ...{ protocol: 'connect', tls: false, host: 'proxy.test', port: 9293 },
    credentials: { user: 'u', password: 'p@w' },
  })
  assert.deepEqual(parseProxyUrl('https://proxy.test/', 'X'), {
    ...{ protocol: 'connect', tls: true, host: 'proxy.test', port: 443, credentials: null },
  })
  assert.deepEqual(parseProxyUrl('socks5://[2001:db8::1]', 'X'), {
    ...{ protocol: 'socks5', tls: false, host: '2001:db8::1', port: 1080, credentials: null },
  })
  assert.equal(parseProxyUrl('socks5s://u:p@proxy.test:1', 'X').tls, true)
  assert.equal(parseProxyUrl('http://proxy.test', 'X').port, 80)
})

test('what cannot be a proxy is refused', () => {
  for (const [text, error] of [
    ['proxy.test:9293', /scheme|not a URL/],
    ['ftp://proxy.test', /scheme ftp:/],
    ['http://', /not a URL/],
    ['http://h/path', /ends after its port/],
    ['http://h?x', /ends after its port/],
    ['http://h:0', /port 0/],
    ['http://a%3Ab:p@h:1', /colon/],
    ['http://u:%zz@h:1', /%25/],
    ['http://u:%0d%0aX@h:1', /control character/],
    ['socks5://u@h:1', /1 to 255 bytes/],
    [`socks5://u:${'p'.repeat(256)}@h:1`, /1 to 255 bytes/],
    [`http://${'h'.repeat(3000)}`, /longer/],
  ] as const)
    assert.throws(() => parseProxyUrl(text, 'FAIRWAY_OUTBOUND_URL'), error, text)
})

test('no error holds a password', () => {
  const scheme = fc.constantFrom('http', 'socks5', 'ftp', 'socks5s', 'h ttp', '')
  const rest = fc.constantFrom('h:1', 'h:99999', '', 'h:0', 'h/x', '[::', 'a b', 'h?q')
  fc.assert(
    fc.property(scheme, rest, fc.constantFrom('%zz', '%00', '%', ''), (scheme, rest, odd) => {
      try {
        parseProxyUrl(`${scheme}://user:hunter2${odd}@${rest}`, 'X')
      } catch (error) {
        assert.ok(error instanceof TunnelError, String(error))
        assert.doesNotMatch(error.message, /hunter2/)
      }
    }),
  )
})
