import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { parsePreface, prefaceOrigin, prefaceTarget, refusalCode } from './preface.ts'

const line =
  'F1 h hello 4d891d2b42e987 0 80 192.0.2.9 51234 2001:db8:1::5 443 s iad 01M7XYHV9H4Z1FS0MRDV37PTN6-iad'

test('a preface says who asks for what', () => {
  assert.deepEqual(parsePreface(line), {
    ...{
      kind: 'http',
      forced: false,
      app: 'hello',
      machine: '4d891d2b42e987',
      service: 0,
      port: 80,
    },
    ...{ clientAddress: '192.0.2.9', clientPort: 51_234, localAddress: '2001:db8:1::5' },
    ...{ localPort: 443, https: true, region: 'iad' },
    requestId: '01M7XYHV9H4Z1FS0MRDV37PTN6-iad',
  })
})

describe('lines that are no preface', () => {
  for (const bad of [
    '',
    line.replace('F1', 'F2'),
    line.replace(' h ', ' x '),
    line.replace('hello', '../hello'),
    line.replace('hello', 'Hello'),
    line.replace('192.0.2.9', '192.0.2.900'),
    line.replace('2001:db8:1::5', ':::'),
    line.replace(' 80 ', ' 0 '),
    line.replace(' 80 ', ' 65536 '),
    line.replace('F1 h', 'F1  h'),
    `${line} `,
    ` ${line}`,
    `${line}\n`,
    `${line}${'A'.repeat(600)}`,
  ])
    test(JSON.stringify(bad.slice(0, 40)), () => assert.equal(parsePreface(bad), undefined))
})

test('what one edge writes another reads', () => {
  const port = fc.integer({ min: 1, max: 65_535 })
  const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,62}$/)
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6().map((ip) => ip.toLowerCase()),
  )
  fc.assert(
    fc.property(
      fc.record({
        ...{ kind: fc.constantFrom('http' as const, 'tcp' as const), app: name, port },
        ...{ machine: fc.stringMatching(/^[0-9a-f]{14}$/), service: fc.nat(999) },
        ...{ clientAddress: address, clientPort: port, localAddress: address, localPort: port },
        ...{ https: fc.boolean(), region: fc.stringMatching(/^[a-z]{3}$/) },
        requestId: fc.stringMatching(/^[0-9A-Z]{26}-[a-z]{3}$/),
      }),
      (preface) => {
        const { kind, app, machine, service } = preface
        const text =
          prefaceTarget(kind, app, machine, service, preface.port) +
          prefaceOrigin(preface) +
          preface.requestId
        assert.deepEqual(parsePreface(text), { ...preface, forced: false })
        const forced = prefaceTarget('forced-http', app, machine, service, preface.port)
        const insisted = parsePreface(forced + prefaceOrigin(preface) + preface.requestId)
        assert.deepEqual(insisted, { ...preface, kind: 'http', forced: true })
      },
    ),
  )
})

test('any text is a preface or is not, and never throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(100), (bytes, at) => {
      const noise = Buffer.from(bytes).toString('latin1')
      parsePreface(noise)
      parsePreface(line.slice(0, at) + noise + line.slice(at))
    }),
  )
})

test('refusals', () => {
  assert.equal(refusalCode('-PC01\n'), 'PC01')
  for (const part of ['', '-', '-PC0', '-PC01', '+']) assert.equal(refusalCode(part), '', part)
  for (const bad of ['x', '+x', '--', '-pc01\n', `-${'A'.repeat(17)}`])
    assert.equal(refusalCode(bad), undefined, bad)
})
