import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fatal, faultLog } from './faults.ts'

test('one fault in a second is written down, and how many came between', () => {
  const lines: string[] = []
  let nowMs = 0
  const onFault = faultLog(
    (line) => lines.push(line),
    () => nowMs,
  )
  for (let i = 0; i < 10; i++) onFault(new TypeError('no such thing'))
  nowMs = 1_000
  onFault('odd')
  assert.equal(lines.length, 2)
  assert.match(lines[0]!, /^fault: a connection was closed: TypeError: no such thing\n +at /)
  assert.equal(lines[1], 'fault: a connection was closed (and 9 since the last line): odd')
})

test('where nobody watches, a fault is thrown', () => {
  assert.throws(() => fatal(new Error('here')), /here/)
})
