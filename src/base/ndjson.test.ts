import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeLine, LineSplitter, LineTooLongError } from './ndjson.ts'

test('any cutting of the bytes gives the same lines', () => {
  fc.assert(
    fc.property(
      fc.array(fc.jsonValue(), { maxLength: 10 }),
      fc.array(fc.nat({ max: 40 }), { minLength: 1 }),
      (values, cuts) => {
        const bytes = Buffer.from(values.map(encodeLine).join(''))
        const splitter = new LineSplitter(1 << 20)
        const lines: string[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = 1 + cuts[i % cuts.length]!
          lines.push(...splitter.push(bytes.subarray(at, at + size)))
          at += size
        }
        assert.deepEqual(
          lines,
          values.map((value) => JSON.stringify(value)),
        )
      },
    ),
  )
})

test('an endless line is refused', () => {
  const splitter = new LineSplitter(10)
  splitter.push(Buffer.from('12345'))
  assert.throws(() => splitter.push(Buffer.from('678901')), LineTooLongError)
})

test('empty lines are left out', () => {
  assert.deepEqual(new LineSplitter(10).push(Buffer.from('\n{}\n\n1\n')), ['{}', '1'])
})
