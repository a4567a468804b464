import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  destinationText,
  parseDestination,
  parseDestinations,
  parseMapping,
} from './destinations.ts'
import { TunnelError } from './failure.ts'

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/)
const name = fc
  .tuple(fc.array(label, { maxLength: 3 }), fc.stringMatching(/^[a-z]{2,10}$/))
  .map(([labels, last]) => [...labels, last].join('.'))
const host = fc.oneof(name, fc.ipV4(), fc.ipV6())
const port = fc.integer({ min: 1, max: 65_535 })

test('a destination is read as it is written', () => {
  fc.assert(
    fc.property(host, port, (host, port) => {
      const text = destinationText({ host: host.toLowerCase(), port })
      assert.equal(destinationText(parseDestination(text, '--to')), text)
    }),
  )
})

test('a mapping with and without an address to listen at', () => {
  const to = { host: 'db.example.com', port: 5432 }
  assert.deepEqual(parseMapping('6000:DB.Example.com.:5432', '--map'), {
    listen: null,
    port: 6000,
    to,
  })
  assert.deepEqual(parseMapping('127.0.0.2:6000:db.example.com:5432', '--map'), {
    ...{ listen: '127.0.0.2', port: 6000, to },
  })
  assert.deepEqual(parseMapping('[::1]:6000:[2001:db8::1]:5432', '--map'), {
    ...{ listen: '::1', port: 6000, to: { host: '2001:db8::1', port: 5432 } },
  })
})

test('what is no mapping is refused with the field and the fix', () => {
  for (const [text, error] of [
    ['', /give \[listen:\]port:host:port/],
    ['5432', /give \[listen:\]port:host:port/],
    ['db:5432', /give \[listen:\]port:host:port/],
    ['0:db:5432', /"0" is not a port/],
    ['65536:db:5432', /"65536" is not a port/],
    ['5432:db:+1', /"\+1" is not a port/],
    ['db:1:db:2', /"db" is not an address to listen at/],
    ['1:1.2.3:2', /neither a host name nor an address/],
    ['1:a b:2', /neither a host name nor an address/],
    ['1:a\r\nx:2', /neither a host name nor an address/],
    ['1:[::g]:2', /give \[listen:\]port:host:port/],
    ['1:2001:db8::1:2', /give \[listen:\]port:host:port/],
  ] as const)
    assert.throws(() => parseMapping(text, '--map'), error, text)
})

test('a list takes commas and white space, and has a limit', () => {
  assert.deepEqual(parseDestinations(' a.test:1,\n b.test:2 ', 'Q'), [
    { host: 'a.test', port: 1 },
    { host: 'b.test', port: 2 },
  ])
  assert.throws(() => parseDestinations('a.test:1,'.repeat(257), 'Q'), /at most 256/)
})

test('any text is a mapping or a TunnelError', () => {
  const text = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom(':', '[', ']', '1', 'a', '.', '::'), { maxLength: 20 })
      .map((parts) => parts.join('')),
  )
  fc.assert(
    fc.property(text, (text) => {
      try {
        const { to } = parseMapping(text, '--map')
        assert.match(to.host, /^[a-z0-9_.:%-]+$/)
      } catch (error) {
        assert.ok(error instanceof TunnelError, String(error))
      }
    }),
  )
})
