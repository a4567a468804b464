import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { ChunkedScanner } from './chunked.ts'
import * as limits from './limits.ts'

const bytes = (text: string) => Buffer.from(text, 'latin1')

/** Feeds `text` in the given pieces; the end of the body, or the fault. */
function feed(text: string, cuts: readonly number[] = []) {
  const data = bytes(text)
  const scanner = new ChunkedScanner()
  let body = ''
  const points = [...new Set([0, ...cuts.filter((cut) => cut < data.length), data.length])]
  points.sort((a, b) => a - b)
  for (let i = 1; i < points.length; i++) {
    const onData = (from: number, to: number) => (body += data.toString('latin1', from, to))
    const end = scanner.feed(data, points[i - 1]!, points[i]!, onData)
    if (end < 0) return { fault: scanner.fault, body }
    if (scanner.done) return { end, body }
  }
  return { more: true, body }
}

describe('bodies', () => {
  for (const [name, text, body] of [
    ['empty', '0\r\n\r\n', ''],
    ['one chunk', '5\r\nhello\r\n0\r\n\r\n', 'hello'],
    [
      'upper and lower hexadecimal',
      'A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n',
      '01234567890123456789',
    ],
    ['leading zeros', '005\r\nhello\r\n000\r\n\r\n', 'hello'],
    ['extensions', '5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', 'hello'],
    ['a quoted extension', '5;a="b;\\"c\\\\";d=""\r\nhello\r\n0\r\n\r\n', 'hello'],
    ['trailers', '0\r\nX-Sum: 1\r\nY: \t2\r\n\r\n', ''],
    ['CRLF in the data', '4\r\n\r\n\r\n\r\n0\r\n\r\n', '\r\n\r\n'],
  ] as const)
    test(name, () => {
      const next = 'GET / HTTP/1.1'
      assert.deepEqual(feed(text + next), { end: text.length, body })
      for (let cut = 1; cut < text.length; cut++)
        assert.deepEqual(feed(text + next, [cut]), { end: text.length, body }, `cut at ${cut}`)
    })
})

describe('bodies that are refused', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['no size', '\r\n'],
    ['a size that is no number', 'x\r\n'],
    ['a prefix', '0x5\r\nhello\r\n'],
    ['a sign', '+5\r\nhello\r\n'],
    ['a space before the size', ' 5\r\nhello\r\n'],
    ['a space after the size', '5 \r\nhello\r\n'],
    ['a space before an extension', '5 ;a\r\nhello\r\n'],
    ['a bare LF after the size', '5\nhello\r\n0\r\n\r\n'],
    ['a bare CR after the size', '5\rXhello\r\n'],
    ['a size of 14 digits', '00000000000005\r\n'],
    ['data longer than the size', '5\r\nhello!\r\n'],
    ['a bare LF after the data', '5\r\nhello\n0\r\n\r\n'],
    ['no CRLF after the data', '5\r\nhello0\r\n\r\n'],
    ['a bare LF in an extension', '5;a\nhello\r\n'],
    ['a bare LF in a quoted extension', '5;a="\n"\r\nhello\r\n'],
    ['a CR in a quoted extension', '5;a="\r\n"\r\nhello\r\n'],
    ['an extension without a name', '5;\r\nhello\r\n'],
    ['an extension with a value alone', '5;=b\r\nhello\r\n'],
    ['an extension without its value', '5;a=\r\nhello\r\n'],
    ['an empty extension before another', '5;;a\r\nhello\r\n'],
    ['a space before a name', '5; a\r\nhello\r\n'],
    ['a space after a name', '5;a =b\r\nhello\r\n'],
    ['a space after an extension', '5;a \r\nhello\r\n'],
    ['a quote in a token', '5;a=b"c"\r\nhello\r\n'],
    ['an open quote', '5;a="b\r\nhello\r\n'],
    ['a quote that ends nothing', '5;a="b"c\r\nhello\r\n'],
    ['an escaped end of a quote', '5;a="b\\"\r\nhello\r\n'],
    ['a control character in an extension', '5;a\x01\r\nhello\r\n'],
    ['a trailer without a colon', '0\r\nX\r\n\r\n'],
    ['a trailer with a space before the colon', '0\r\nX : 1\r\n\r\n'],
    ['a folded trailer', '0\r\nX: 1\r\n 2\r\n\r\n'],
    ['a trailer that frames', '0\r\nContent-Length: 5\r\n\r\n'],
    ['a trailer that frames, spelled for CGI', '0\r\ntransfer_encoding: chunked\r\n\r\n'],
    ['a trailer that only the edge may set', '0\r\nFly-Client-IP: 1.2.3.4\r\n\r\n'],
    ['a bare LF after a trailer', '0\r\nX: 1\n\r\n'],
    ['a bare LF at the end', '0\r\n\n'],
    ['long extensions', `5;${'a'.repeat(limits.CHUNK_EXTENSION_BYTES_MAX + 1)}\r\n`],
    ['long trailers', `0\r\nX: ${'a'.repeat(limits.TRAILER_BYTES_MAX)}\r\n\r\n`],
    ['extensions long together', '1;aaaaaaaaa\r\nx\r\n'.repeat(2_000)],
  ]
  for (const [name, text] of cases)
    test(name, () => assert.notEqual(feed(text).fault ?? null, null))
})

test('however a body is chunked and cut, its data is the same', () => {
  const part = fc.string({ minLength: 1, maxLength: 40, unit: 'binary-ascii' })
  fc.assert(
    fc.property(fc.array(part), fc.array(fc.nat(400)), (parts, cuts) => {
      const text = parts.map((p) => `${p.length.toString(16)}\r\n${p}\r\n`).join('')
      const whole = `${text}0\r\n\r\n`
      assert.deepEqual(feed(`${whole}rest`, cuts), { end: whole.length, body: parts.join('') })
    }),
  )
})

test('any octets, cut anywhere, give the same answer', () => {
  const soup = fc.string({
    unit: fc.constantFrom('0', '1', 'a', ';', ':', '\r', '\n', ' ', 'x', '\r\n', '0\r\n\r\n'),
    maxLength: 60,
  })
  fc.assert(
    fc.property(soup, fc.array(fc.nat(60)), (text, cuts) => {
      const { fault: a = null, end: endA, more: moreA } = feed(text) as Record<string, unknown>
      const {
        fault: b = null,
        end: endB,
        more: moreB,
      } = feed(text, cuts) as Record<string, unknown>
      assert.deepEqual([a, endA, text === '' || moreA], [b, endB, text === '' || moreB])
    }),
    { numRuns: 1_000 },
  )
})
