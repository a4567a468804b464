import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { octetsOf } from '../latin1.ts'
import { isBodiless, isHopeless, ResponseHead, type ResponseMode } from './response-head.ts'

function scan(text: string, mode: ResponseMode = 'public') {
  const head = new ResponseHead()
  return { head, bad: head.scan(octetsOf(text), text, 0, text.indexOf('\r\n\r\n'), mode, false) }
}

describe('response heads that are refused', () => {
  const ok = 'HTTP/1.1 200 OK\r\n'
  for (const [name, text] of [
    ['HTTP/2', 'HTTP/2.0 200 OK\r\n\r\n'],
    ['no response', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\n\r\n'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\n\r\n'],
    ['a status below 100', 'HTTP/1.1 099 X\r\n\r\n'],
    ['a control character in the reason', 'HTTP/1.1 200 O\0K\r\n\r\n'],
    ['both framings', `${ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ['two lengths', `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`],
    ['another coding', `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['a bare LF', `${ok}X: a\nY: b\r\n\r\n`],
    ['obs-fold', `${ok}X: a\r\n b\r\n\r\n`],
    ['a space before the colon', `${ok}Content-Length : 1\r\n\r\n`],
    [
      'Connection that lists the framing',
      `${ok}Content-Length: 1\r\nConnection: content-length\r\n\r\n`,
    ],
  ] as const)
    test(name, () => assert.notEqual(scan(text).bad, null))
})

test('hop-by-hop fields and the app’s own Server go', () => {
  const { head, bad } = scan(
    'HTTP/1.1 201 Made Here\r\nServer: x\r\nDate: now\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n' +
      'Keep-Alive: a\r\nFly-Request-Id: forged\r\nVia: 1.1 inner\r\nContent-Length: 5\r\n\r\n',
  )
  assert.equal(bad, null)
  assert.equal(head.fields, 'Date: now\r\nVia: 1.1 inner\r\nContent-Length: 5\r\n')
  assert.deepEqual(
    [head.status, head.statusText, head.close, head.length, head.hasDate],
    [201, '201 Made Here', true, 5, true],
  )
})

test('what frames goes on in one spelling', () => {
  for (const [sent, goesOn] of [
    ['Content-Length:\t05', 'Content-Length: 5'],
    ['Content-Length: 0', 'Content-Length: 0'],
    ['Transfer-Encoding: Chunked ', 'Transfer-Encoding: chunked'],
  ])
    assert.equal(
      scan(`HTTP/1.1 200 OK\r\nX: a\r\n${sent}\r\nY: b\r\n\r\n`).head.fields,
      `X: a\r\n${goesOn}\r\nY: b\r\n`,
    )
})

test('pristine keeps what the app says of itself', () => {
  const { head } = scan('HTTP/1.1 200 OK\r\nServer: x\r\nFly-Request-Id: y\r\n\r\n', 'pristine')
  assert.equal(head.fields, 'Server: x\r\nFly-Request-Id: y\r\n')
})

test('HTTP/1.0 closes unless it says otherwise', () => {
  assert.equal(scan('HTTP/1.0 200 OK\r\n\r\n').head.close, true)
  assert.equal(scan('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n').head.close, false)
  assert.equal(scan('HTTP/1.1 204\r\n\r\n').head.close, false)
})

test('which responses have no body', () => {
  assert.deepEqual(
    [isBodiless(200, true), isBodiless(204, false), isBodiless(304, false), isBodiless(103, false)],
    [true, true, true, true],
  )
  assert.equal(isBodiless(200, false), false)
})

test('a status line without a reason gets the space that belongs there', () => {
  assert.equal(scan('HTTP/1.1 204\r\n\r\n').head.statusText, '204 ')
  assert.equal(scan('HTTP/1.1 204 \r\n\r\n').head.statusText, '204 ')
})

test('what can never become a head is known before its end', () => {
  for (const text of ['H', 'HTTP/1.', 'HTTP/1.1 200 OK\r\nX: y\r\n', 'HTTP/1.1 200 OK\r'])
    assert.equal(isHopeless(text, 0), false, text)
  for (const text of [
    'h',
    '\r\n',
    'HTTP/2',
    'SSH-2.0',
    'HTTP/1.1 200 OK\n',
    'HTTP/1.1 200 OK\r\n\n',
  ])
    assert.equal(isHopeless(text, 0), true, text)
  assert.equal(isHopeless('HTTP/1.1 200 OK\r\nX: y\n', 17), true)
})

test('what has no body says nothing of a length, whatever the app says', () => {
  for (const [status, fields] of [
    ['204 No Content', 'Content-Length: 5\r\nX: y\r\n'],
    ['204 No Content', 'X: y\r\nTransfer-Encoding: chunked\r\n'],
    ['103 Early Hints', 'Content-Length: 5\r\nX: y\r\n'],
    ['101 Switching Protocols', 'Transfer-Encoding: chunked\r\nX: y\r\n'],
  ] as const) {
    const { head, bad } = scan(`HTTP/1.1 ${status}\r\n${fields}\r\n`)
    assert.equal(bad, null)
    assert.equal(head.fields, 'X: y\r\n', status)
    assert.deepEqual([head.length, head.chunked], [-1, false])
  }
  // A 304 says what a 200 would have.
  assert.equal(
    scan('HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n').head.fields,
    'Content-Length: 5\r\n',
  )
})
