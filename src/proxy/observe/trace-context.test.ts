import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseTraceparent, TraceIds, withTraceparent } from './trace-context.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

test('a valid traceparent is read', () => {
  assert.deepEqual(parseTraceparent(`00-${TRACE}-${SPAN}-01`), {
    ...{ traceId: TRACE, parentId: SPAN, flags: 1 },
  })
  assert.equal(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.flags, 0)
})

test('a later version may say more, after a dash', () => {
  assert.equal(parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-comes`)?.traceId, TRACE)
  assert.equal(parseTraceparent(`cc-${TRACE}-${SPAN}-01what`), null)
})

for (const [why, text] of [
  ['empty', ''],
  ['version ff', `ff-${TRACE}-${SPAN}-01`],
  ['version 00 with more', `00-${TRACE}-${SPAN}-01-more`],
  ['upper case', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
  ['a trace of zeros', `00-${'0'.repeat(32)}-${SPAN}-01`],
  ['a span of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['too short a trace', `00-${TRACE.slice(1)}-${SPAN}-01`],
  ['no flags', `00-${TRACE}-${SPAN}`],
  ['spaces', ` 00-${TRACE}-${SPAN}-01`],
  ['several', ','],
  ['very long', `cc-${TRACE}-${SPAN}-01-${'x'.repeat(1_000)}`],
] as const)
  test(`no traceparent: ${why}`, () => assert.equal(parseTraceparent(text), null))

test('the edge’s span takes the place of its parent; tracestate stays while the trace goes on', () => {
  const head =
    'GET / HTTP/1.1\r\nHost: a\r\nTraceParent: x\r\ntracestate: a=1\r\nTRACEPARENT: y\r\nX: z\r\n'
  const line = `traceparent: 00-${TRACE}-${SPAN}-01\r\n`
  assert.equal(
    withTraceparent(head, TRACE, SPAN, true),
    `GET / HTTP/1.1\r\nHost: a\r\ntracestate: a=1\r\nX: z\r\n${line}`,
  )
  assert.equal(
    withTraceparent(head, TRACE, SPAN, false),
    `GET / HTTP/1.1\r\nHost: a\r\nX: z\r\n${line}`,
  )
})

test('ids are hexadecimal, of their length, and not the same twice', () => {
  const ids = new TraceIds()
  const seen = new Set<string>()
  for (let i = 0; i < 1_000; i++) {
    const [trace, span] = [ids.trace(), ids.span()]
    assert.match(trace, /^[0-9a-f]{32}$/)
    assert.match(span, /^[0-9a-f]{16}$/)
    seen.add(trace).add(span)
  }
  assert.equal(seen.size, 2_000)
})
