import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareKeys, prefixEnd } from './limits.ts'

/** Text around every place where UTF-8 and UTF-16 disagree about the order. */
const text = fc.string({
  unit: fc.constantFrom('\0', 'a', 'b', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'),
  maxLength: 4,
})

test('exactly the strings from a prefix to its end have it', () => {
  fc.assert(
    fc.property(text, text, (prefix, key) => {
      const end = prefixEnd(prefix)
      const within =
        compareKeys(key, prefix) >= 0 && (end === undefined || compareKeys(key, end) < 0)
      assert.equal(within, key.startsWith(prefix))
      if (end !== undefined) assert.ok(end.isWellFormed())
    }),
    { numRuns: 2_000 },
  )
})

test('the last prefix of all has no end', () => {
  assert.equal(prefixEnd(''), undefined)
  assert.equal(prefixEnd('\u{10ffff}\u{10ffff}'), undefined)
  assert.equal(prefixEnd('a\u{10ffff}'), 'b')
})
