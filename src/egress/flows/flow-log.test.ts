import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import type { StreamOptions } from '../../kernel/stream.ts'
import type { LogLine } from '../../model/wire.ts'
import { FLOW_LINES_AT_ONCE_MAX, FlowLog, flowMessage } from './flow-log.ts'

const TUPLES =
  'src=172.16.0.2 dst=198.19.1.2 sport=1029 dport=443 packets=5 bytes=300 src=198.19.1.2 dst=198.51.100.1 sport=443 dport=1029 packets=4 bytes=5000'
const NEW = `    [NEW] ipv4     2 tcp      6 120 SYN_SENT ${TUPLES.replace(/ packets=\d+ bytes=\d+/g, '')}`
const DESTROY = `[DESTROY] ipv4     2 tcp      6 120 CLOSE ${TUPLES} [ASSURED] delta-time=12 id=4`

test('a line for a new flow and for one that has ended', () => {
  assert.equal(flowMessage(NEW), 'flow new tcp 198.51.100.1:1029 -> 198.19.1.2:443')
  assert.equal(
    flowMessage(DESTROY),
    'flow end tcp 198.51.100.1:1029 -> 198.19.1.2:443 sent 300 received 5000 bytes in 12 s',
  )
  const v6 = NEW.replaceAll('198.19.1.2', '2001:db8::2').replace('198.51.100.1', '2001:db8:e001::1')
  assert.equal(flowMessage(v6), 'flow new tcp [2001:db8:e001::1]:1029 -> [2001:db8::2]:443')
})

test('what stays within the platform, or is no event, has no line', () => {
  assert.equal(flowMessage(NEW.replace('198.51.100.1', '172.16.0.2')), undefined)
  assert.equal(flowMessage(NEW.replace('[NEW]', '[UPDATE]')), undefined)
  fc.assert(fc.property(fc.string({ maxLength: 300 }), (text) => void flowMessage(text)))
})

test('runs only while a machine asks for it, and leaves out what comes too fast', () => {
  const settings = mkdtempSync(join(tmpdir(), 'fairway-flows-'))
  const runs: StreamOptions[] = []
  const lines: LogLine[] = []
  let now = 0
  const log = new FlowLog({
    ...{ host: 'iad1', region: 'iad', onLine: (line) => lines.push(line), settings },
    clock: { now: () => now, sleep: () => new Promise(() => {}) },
    ...{ random: () => 0, log: pino({ level: 'silent' }) },
    stream: (_argv, options) => {
      runs.push(options)
      return new Promise(() => {})
    },
  })
  try {
    const machine = { id: 'm1', app: 'web', v4: '172.16.0.2', v6: 'fdaa:1::2' }
    log.apply([])
    assert.equal(runs.length, 0)
    log.apply([machine])
    log.apply([machine])
    assert.equal(runs.length, 1)
    assert.equal(readFileSync(join(settings, 'nf_conntrack_acct'), 'utf8'), '1')
    const event = runs[0]!.onLine
    event(NEW.replace('src=172.16.0.2', 'src=172.16.0.4'))
    assert.equal(lines.length, 0, 'of a machine that did not ask')
    for (let i = 0; i < FLOW_LINES_AT_ONCE_MAX + 7; i++) event(NEW)
    assert.equal(lines.length, FLOW_LINES_AT_ONCE_MAX)
    assert.equal(log.omitted, 7)
    now = 20_000
    event(DESTROY)
    assert.deepEqual(
      lines.slice(-2).map(({ app, source, level }) => [app, source, level]),
      [
        ['web', 'machine', 'warn'],
        ['web', 'machine', 'info'],
      ],
    )
    assert.match(lines.at(-2)!.message, /7 lines left out/)
    log.apply([])
    assert.ok(runs[0]!.signal.aborted)
  } finally {
    log.close()
    rmSync(settings, { recursive: true })
  }
})
