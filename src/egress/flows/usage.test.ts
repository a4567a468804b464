import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { EGRESS_DESTINATIONS_MAX } from '../../model/wire.ts'
import { PEAKS_MAX, portsOf, type StaticMachine, UsageBook, UsageSample } from './usage.ts'

const WHERE = { host: 'iad1', region: 'iad' }
const machine = (id: string, last: number, change: object = {}): StaticMachine => ({
  ...{ id, app: `app-${id}`, v4: `172.16.0.${last}`, v6: `fdaa:1:1:a7b:1:0:${last}:2` },
  egress: { pair: 'p1', v4: '198.51.100.1', v6: '2001:db8:e001::1', slot: 1, count: 1 },
  ...change,
})

interface Line {
  readonly from?: string
  readonly to?: string
  readonly dport?: number
  readonly sport?: number
  readonly proto?: 'tcp' | 'udp'
  readonly state?: string
  readonly source?: string
}

const line = (of: Line): string => {
  const { from = '172.16.0.2', to = '198.19.1.2', dport = 443, sport = 1024 } = of
  const { proto = 'tcp', state = 'ESTABLISHED', source = '198.51.100.1' } = of
  const head = proto === 'tcp' ? `tcp      6 100 ${state}` : 'udp      17 100'
  return `ipv4     2 ${head} src=${from} dst=${to} sport=${sport} dport=${dport} src=${to} dst=${source} sport=${dport} dport=${sport} [ASSURED] mark=0 zone=0 use=2`
}

function look(book: UsageBook, machines: readonly StaticMachine[], lines: readonly string[]): void {
  const sample = new UsageSample(machines)
  for (const text of lines) sample.line(text)
  book.take(sample, 0)
}

test('a block has 1,024 ports a slot, and slot 0 no port 0', () => {
  assert.equal(portsOf({ slot: 1, count: 1 }), 1024)
  assert.equal(portsOf({ slot: 0, count: 1 }), 1023)
  assert.equal(portsOf({ slot: 0, count: 64 }), 65_535)
})

test('counts by machine and destination, of both addresses and families', () => {
  const book = new UsageBook()
  look(
    book,
    [machine('a', 2), machine('b', 4)],
    [
      line({ sport: 1024 }),
      line({ sport: 1025 }),
      line({ sport: 1026, dport: 80 }),
      line({ sport: 1024, proto: 'udp', from: '172.16.0.3' }),
      line({
        from: 'fdaa:0001:0001:0a7b:0001:0000:0002:0002',
        to: '2001:0db8:d000:0001:0000:0000:0000:0002',
        source: '2001:0db8:e001:0000:0000:0000:0000:0001',
      }),
      line({ from: '172.16.0.4', state: 'TIME_WAIT' }),
      line({ from: '172.16.0.99' }),
      'ipv4     2 icmp     1 29 src=172.16.0.2 dst=198.19.1.2 type=8',
    ],
  )
  const [a, b] = book.usage(WHERE)
  assert.equal(a!.total, 5)
  assert.equal(a!.inUse, 2)
  assert.equal(a!.destinationCount, 4)
  assert.deepEqual(a!.destinations[0], {
    ...{ address: '198.19.1.2', port: 443, proto: 'tcp', inUse: 2, peak: 2 },
  })
  assert.ok(a!.destinations.some((d) => d.address === '2001:db8:d000:1::2'))
  assert.deepEqual([b!.total, b!.inUse], [0, 0])
  assert.deepEqual(
    book.usage({ ...WHERE, app: 'app-b' }).map((u) => u.machine),
    ['b'],
  )
})

test('flows of an older source are told apart, those within the platform left out', () => {
  const book = new UsageBook()
  look(
    book,
    [machine('a', 2)],
    [line({ source: '198.51.100.9' }), line({ source: '172.16.0.2', to: '172.16.0.9' })],
  )
  const [usage] = book.usage(WHERE)
  assert.deepEqual([usage!.total, usage!.elsewhere], [0, 1])
})

test('marks stay, and a full block is an event once each time', () => {
  const book = new UsageBook()
  const m = machine('a', 2, {
    egress: { pair: 'p', v4: '198.51.100.1', v6: null, slot: 0, count: 1 },
  })
  const full = Array.from({ length: 1023 }, (_, i) => line({ sport: i + 1 }))
  look(book, [m], full.slice(1))
  assert.equal(book.usage(WHERE)[0]!.exhausted, 0)
  look(book, [m], full)
  look(book, [m], full)
  assert.equal(book.usage(WHERE)[0]!.exhausted, 1)
  look(book, [m], [])
  const [after] = book.usage(WHERE)
  assert.deepEqual([after!.inUse, after!.peak], [0, 1023])
  assert.deepEqual([after!.destinations[0]!.inUse, after!.destinations[0]!.peak], [0, 1023])
  look(book, [m], full)
  assert.equal(book.usage(WHERE)[0]!.exhausted, 2)
  look(book, [], [])
  look(book, [m], [])
  assert.equal(book.usage(WHERE)[0]!.peak, 0, 'a machine that was away begins anew')
})

test('many destinations: the busiest are listed, and no more marks are kept than allowed', () => {
  const book = new UsageBook()
  const lines = Array.from({ length: PEAKS_MAX + 100 }, (_, i) => line({ dport: 1000 + i }))
  look(book, [machine('a', 2)], [...lines, line({ dport: 1005, sport: 2000 })])
  look(book, [machine('a', 2)], [])
  const [usage] = book.usage(WHERE)
  assert.equal(usage!.destinations.length, EGRESS_DESTINATIONS_MAX)
  assert.deepEqual([usage!.destinations[0]!.port, usage!.destinations[0]!.peak], [1005, 2])
})

test('no look invents a connection, and a mark is never below what is in use', () => {
  const port = fc.integer({ min: 1, max: 4 })
  const of = fc.record({ dport: port, sport: fc.integer({ min: 1024, max: 1030 }) })
  fc.assert(
    fc.property(fc.array(fc.array(of, { maxLength: 20 }), { maxLength: 6 }), (looks) => {
      const book = new UsageBook()
      let highest = 0
      for (const flows of looks) {
        look(book, [machine('a', 2)], flows.map(line))
        const [usage] = book.usage(WHERE)
        assert.equal(usage!.total, flows.length)
        const counts = Map.groupBy(flows, ({ dport }) => dport)
        const most = Math.max(0, ...[...counts.values()].map((same) => same.length))
        highest = Math.max(highest, most)
        assert.deepEqual([usage!.inUse, usage!.peak], [most, highest])
        for (const d of usage!.destinations) assert.ok(d.peak >= d.inUse)
      }
    }),
  )
})
