import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseSecretLines } from './key-values.ts'
import { lineText } from './log-text.ts'
import { booleanFlag } from './options.ts'
import { ago, bytesText, table } from './output.ts'
import { parsePortFlag, withPorts } from './ports.ts'
import { priceText } from './prices.ts'
import { adjust, scaleSteps, spread } from './scale.ts'
import { fakeMachine, NOW_MS } from './testing.ts'

test('spread is even and complete', () => {
  fc.assert(
    fc.property(
      fc.nat(200),
      fc.uniqueArray(fc.string(), { minLength: 1, maxLength: 9 }),
      (n, regions) => {
        const counts = [...spread(n, regions).values()]
        assert.equal(
          counts.reduce((a, b) => a + b, 0),
          n,
        )
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1)
      },
    ),
  )
  assert.deepEqual(
    [...spread(5, ['a', 'b', 'c'])],
    [
      ['a', 2],
      ['b', 2],
      ['c', 1],
    ],
  )
})

test('without regions as little as possible changes', () => {
  const here = new Map([
    ['iad', 3],
    ['lhr', 1],
  ])
  assert.deepEqual(
    [...adjust(5, here)],
    [
      ['iad', 3],
      ['lhr', 2],
    ],
  )
  assert.deepEqual(
    [...adjust(2, here)],
    [
      ['iad', 1],
      ['lhr', 1],
    ],
  )
  assert.deepEqual([...adjust(4, here)], [...here])
  assert.deepEqual([...adjust(0, here).values()], [0, 0])
  assert.deepEqual([...adjust(2, new Map())], [['', 2]])
})

test('scaling leaves other regions alone; what does not run goes first, then the newest', () => {
  const machines = [
    fakeMachine('old', { created_at: '1' }),
    fakeMachine('new', { created_at: '2' }),
    fakeMachine('off', { created_at: '0', state: 'stopped' }),
    fakeMachine('far', { region: 'nrt' }),
  ]
  const template = machines[0]!.config
  const steps = scaleSteps({ group: 'app', total: 2, regions: ['iad', 'lhr'], machines, template })
  assert.deepEqual(
    steps.map((s) => (s.kind === 'create' ? `+${s.region}` : `-${s.machine.id}`)),
    ['+lhr', '-new', '-off'],
  )
})

test('ports of the command line', () => {
  const parsed = (text: string) => Object.values(parsePortFlag(text))
  assert.deepEqual(parsed('443:8080/tcp:tls:http'), [443, 443, 8080, 'tcp', ['tls', 'http'], false])
  assert.deepEqual(parsed('53/udp'), [53, 53, 53, 'udp', [], false])
  assert.deepEqual(parsed('100-200:80'), [100, 200, 80, 'tcp', [], false])
  assert.deepEqual(parsed('80/tcp:-'), [80, 80, 80, 'tcp', ['-'], true])
  for (const bad of ['x', '0', '70000', '9-3', '80/sctp', '80:']) {
    assert.throws(() => parsePortFlag(bad), /--port/, bad)
  }
  const flags = (...texts: string[]) => withPorts([], texts.map(parsePortFlag))
  assert.deepEqual(flags('80:8080/tcp:http', '443:8080/tcp:tls', '80/tcp:-'), [
    { protocol: 'tcp', internal_port: 8080, ports: [{ port: 443, handlers: ['tls'] }] },
  ])
  assert.deepEqual(flags('80:1', '80:2')[0]?.internal_port, 2)
})

test('lines of secrets', () => {
  assert.deepEqual(parseSecretLines(`A=1\n\n# no\n export B = 'x=y'\nC="""a\nb"""\nD=\n`), {
    A: '1',
    B: 'x=y',
    C: 'a\nb',
    D: '',
  })
  assert.throws(() => parseSecretLines('A=1\nnonsense'), /Line 2 is not NAME=VALUE/)
  assert.throws(() => parseSecretLines('A="""x'), /Line 1: """ is not closed/)
})

test('texts for people', () => {
  const at = (ms: number) => ago(new Date(NOW_MS - ms).toISOString(), NOW_MS)
  assert.deepEqual(
    [at(0), at(12_000), at(184_000), at(18_120_000), at(86_400_000), ago('', NOW_MS)],
    ['just now', '12s ago', '3m4s ago', '5h2m ago', 'May 31 2026 12:00', ''],
  )
  assert.deepEqual(
    [bytesText(999), bytesText(1500), bytesText(2.5e6)],
    ['999 B', '1.5 kB', '2.5 MB'],
  )
  const price = (perMonth: string, currency = 'USD') => priceText({ perMonth, currency })
  assert.deepEqual(
    [price('2.00'), price('2.50'), price('3.00', 'EUR'), price('0.00')],
    ['$2/mo', '$2.50/mo', 'EUR 3/mo', ''],
  )
  assert.equal(
    table(
      ['A', 'Bee'],
      [
        ['x\u001b', 1],
        [null, undefined],
      ],
    ),
    'A   BEE\nx   1\n\n\n',
  )
  assert.deepEqual(['true', true, '0', 'F'].map(booleanFlag), [true, true, false, false])
  assert.throws(() => booleanFlag('maybe'), /"maybe"/)
})

test('what an app says cannot steer the terminal of who reads it', () => {
  const hostile = 'a\u001b]52;c;x\u0007b\u009b2Jc\rd\u007f'
  assert.doesNotMatch(table(['x'], [[hostile]]), /[\u001b\u0007\u009b\r\u007f]/)
  const line = lineText({
    ...{ timestamp: 't', app: 'a', machine: 'm', region: 'iad', host: 'h', level: 'info' },
    ...{ source: 'app', message: hostile },
  })
  assert.doesNotMatch(line, /[\u001b\u0007\u009b\r\u007f]/)
})
