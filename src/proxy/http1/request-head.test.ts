import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { octetsOf } from '../../base/latin1.ts'
import * as limits from '../limits.ts'
import { RequestHead } from './request-head.ts'

function scan(text: string, trusted = false) {
  const head = new RequestHead()
  const fault = head.scan(octetsOf(text), text, 0, text.indexOf('\r\n\r\n'), trusted)
  return { head, fault }
}
const get = (...fields: string[]) => `GET / HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`

describe('heads that are refused', () => {
  const H = 'Host: a'
  const cases: readonly (readonly [name: string, text: string, status: number])[] = [
    ['both framings', get(H, 'Content-Length: 3', 'Transfer-Encoding: chunked'), 400],
    ['both framings, other order', get(H, 'Transfer-Encoding: chunked', 'Content-Length: 3'), 400],
    ['differing lengths', get(H, 'Content-Length: 3', 'Content-Length: 4'), 400],
    ['equal lengths', get(H, 'Content-Length: 3', 'content-length: 3'), 400],
    ['a list of lengths', get(H, 'Content-Length: 3, 3'), 400],
    ['a signed length', get(H, 'Content-Length: +3'), 400],
    ['a negative length', get(H, 'Content-Length: -1'), 400],
    ['a hexadecimal length', get(H, 'Content-Length: 0x3'), 400],
    ['an empty length', get(H, 'Content-Length:'), 400],
    ['a length beyond 2^53', get(H, 'Content-Length: 9999999999999999'), 400],
    ['another coding, chunked last', get(H, 'Transfer-Encoding: gzip, chunked'), 501],
    ['unknown codings, chunked last', get(H, 'Transfer-Encoding: a;b="c" ,\td, Chunked'), 501],
    ['another coding alone', get(H, 'Transfer-Encoding: gzip'), 400],
    ['chunked not last', get(H, 'Transfer-Encoding: chunked, gzip'), 400],
    ['chunked twice in a line', get(H, 'Transfer-Encoding: chunked, chunked'), 400],
    ['a coding that is no token', get(H, 'Transfer-Encoding: x y, chunked'), 400],
    ['an empty coding', get(H, 'Transfer-Encoding: , chunked'), 400],
    ['an empty Transfer-Encoding', get(H, 'Transfer-Encoding:'), 400],
    ['chunked twice', get(H, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'), 400],
    ['chunked with a parameter', get(H, 'Transfer-Encoding: chunked;q=1'), 400],
    ['chunked in quotes', get(H, 'Transfer-Encoding: "chunked"'), 400],
    ['identity', get(H, 'Transfer-Encoding: identity'), 400],
    ['chunked with a vertical tab', get(H, 'Transfer-Encoding: \x0bchunked'), 400],
    ['chunked in HTTP/1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['space before the colon', get(H, 'Content-Length : 3'), 400],
    ['tab before the colon', get(H, 'Transfer-Encoding\t: chunked'), 400],
    ['obs-fold', get(H, 'X: a', ' b'), 400],
    ['obs-fold with a tab', get(H, 'X: a', '\tb'), 400],
    ['a fold first', 'GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n', 400],
    ['a bare LF', 'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n', 400],
    ['a bare CR in a value', get(H, 'X: a\rb'), 400],
    ['a bare CR in a name', get(H, 'X\rY: a'), 400],
    ['NUL in a value', get(H, 'X: a\0b'), 400],
    ['DEL in a value', get(H, 'X: a\x7f'), 400],
    ['an empty name', get(H, ': a'), 400],
    ['no colon', get(H, 'X'), 400],
    ['a name with a slash', get(H, 'X/Y: a'), 400],
    ['a name beyond ASCII', get(H, 'X\xe9: a'), 400],
    ['no Host', 'GET / HTTP/1.1\r\nX: a\r\n\r\n', 400],
    ['no fields', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', get('Host: a', 'Host: a'), 400],
    ['an empty Host', get('Host:'), 400],
    ['a Host list', get('Host: a, b'), 400],
    ['a Host with user info', get('Host: a@b'), 400],
    ['a Host with a path', get('Host: a/b'), 400],
    ['a Host with a bad port', get('Host: a:8x'), 400],
    ['a Host with a port beyond 65535', get('Host: a:65536'), 400],
    ['a Host with half a percent-encoding', get('Host: a%4'), 400],
    ['a Host with a bad percent-encoding', get('Host: a%zz'), 400],
    ['a Host with brackets around no address', get('Host: [:::]'), 400],
    ['a Host with something after its brackets', get('Host: [::1]a'), 400],
    ['a Host with a zone', get('Host: [fe80::1%25eth0]'), 400],
    ['a Host with an open bracket', get('Host: [::1'), 400],
    ['a target unlike the Host', 'GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target with a bad host in HTTP/1.0', 'GET http://a<b/ HTTP/1.0\r\n\r\n', 400],
    ['a target with a bad port', 'GET http://a:8x/ HTTP/1.0\r\n\r\n', 400],
    ['a target with user info', 'GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n', 400],
    ['a target of another scheme', 'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a relative target', 'GET x HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['an asterisk for GET', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target with a space', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target with a fragment', 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a target beyond ASCII', 'GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['no target', 'GET  HTTP/0.9\r\nHost: a\r\n\r\n', 400],
    ['two spaces', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a tab in the request line', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a space after the version', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n', 400],
    ['a method that is no token', 'G(T / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a lower-case version', 'GET / http/1.1\r\nHost: a\r\n\r\n', 400],
    ['HTTP/0.9', 'GET /\r\nHost: a\r\n\r\n', 400],
    ['HTTP/1.2', 'GET / HTTP/1.2\r\nHost: a\r\n\r\n', 505],
    ['HTTP/2.0', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    ['HTTP/1.x', 'GET / HTTP/1.x\r\nHost: a\r\n\r\n', 400],
    ['HTTP/x.1', 'GET / HTTP/x.1\r\nHost: a\r\n\r\n', 400],
    ['HTTP/1.01', 'GET / HTTP/1.01\r\nHost: a\r\n\r\n', 400],
    ['CONNECT', 'CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', 501],
    ['CONNECT to a path', 'CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n', 501],
    ['authority form', 'GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n', 400],
    ['Connection that lists Host', get(H, 'Connection: host'), 400],
    ['Connection that lists the framing', get(H, 'Connection: Content-Length'), 400],
    ['two Expects', get(H, 'Expect: 100-continue', 'Expect: 100-continue'), 400],
    ['two Expects, of which one is another', get(H, 'Expect: x', 'Expect: 100-continue'), 400],
    ['two Upgrades, of which one is empty', get(H, 'Upgrade:', 'Upgrade: b'), 400],
    ['two Upgrades', get(H, 'Connection: upgrade', 'Upgrade: a', 'Upgrade: b'), 400],
    [
      'a long target',
      `GET /${'a'.repeat(limits.TARGET_BYTES_MAX)} HTTP/1.1\r\nHost: a\r\n\r\n`,
      414,
    ],
    ['many fields', get(H, ...Array(limits.HEADER_COUNT_MAX).fill('X: y')), 431],
  ]
  for (const [name, text, status] of cases)
    test(name, () => assert.equal(scan(text).fault?.status, status))
})

describe('heads that go on', () => {
  test('unchanged but for what is the edge’s to say', () => {
    const { head, fault } = scan(
      'POST /a?b=c|{} HTTP/1.1\r\nhOsT: Hello.fairway.test:80\r\nFly-Client-IP: 1.2.3.4\r\n' +
        'X-Custom:  spaced \t\r\nFLY_REGION: x\r\nx_forwarded_for: 9.9.9.9\r\nfly-Client_ip: 9.9.9.9\r\n' +
        'X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\n' +
        'X-Forwarded-Port: 8443\r\nFly-Prefer-Region: nrt\r\nFly-Force-Instance-Id: m1\r\n' +
        'Fly-Replay-Src: instance=x\r\nFly-Replay-Cache-Control: skip\r\nTE: trailers\r\n' +
        'Keep-Alive: timeout=5\r\nContent-Length: 12\r\nVia: 1.0 other\r\n\r\n',
    )
    assert.equal(fault, null)
    assert.equal(
      head.forward,
      'POST /a?b=c|{} HTTP/1.1\r\nhOsT: Hello.fairway.test:80\r\nX-Custom:  spaced \t\r\n' +
        'X-Forwarded-Port: 8443\r\nFly-Prefer-Region: nrt\r\nFly-Force-Instance-Id: m1\r\n' +
        'Fly-Replay-Cache-Control: skip\r\nContent-Length: 12\r\nVia: 1.0 other\r\n',
    )
    assert.equal(head.forwardedFor, '10.0.0.1, 10.0.0.2')
    assert.deepEqual(
      [head.method, head.host, head.length, head.hasForwardedPort, head.idempotent],
      ['POST', 'Hello.fairway.test:80', 12, true, false],
    )
  })

  test('what Connection lists goes', () => {
    const { head } = scan(get('Host: a', 'X-Hop: 1', 'Connection: close, X-HOP', 'X-Stay: 2'))
    assert.equal(head.forward, 'GET / HTTP/1.1\r\nHost: a\r\nX-Stay: 2\r\n')
    assert.equal(head.close, true)
  })

  test('from another edge everything stays', () => {
    const text = get('Host: a', 'Fly-Region: iad', 'Connection: Upgrade', 'Upgrade: websocket')
    const { head } = scan(text, true)
    assert.equal(`${head.forward}\r\n`, text)
    assert.equal(head.upgrade, 'websocket')
  })

  test('from another edge it may be longer by what an edge adds', () => {
    const start = 'GET / HTTP/1.1\r\nHost: a\r\nX: '
    const long = (more: number) =>
      `${start}${'y'.repeat(limits.HEAD_BYTES_MAX - start.length + more)}\r\n\r\n`
    const many = (more: number) =>
      get('Host: a', ...Array(limits.HEADER_COUNT_MAX - 1 + more).fill('X: y'))
    for (const [text, trusted, status] of [
      [long(0), false, undefined],
      [long(1), false, 431],
      [long(limits.ADDED_BYTES_MAX), true, undefined],
      [long(limits.ADDED_BYTES_MAX + 1), true, 431],
      [many(0), false, undefined],
      [many(1), false, 431],
      [many(limits.ADDED_HEADERS_MAX), true, undefined],
      [many(limits.ADDED_HEADERS_MAX + 1), true, 431],
    ] as const)
      assert.equal(scan(text, trusted).fault?.status, status)
  })

  test('what frames and routes goes on in one spelling', () => {
    for (const [sent, goesOn] of [
      ['Host:\ta', 'Host: a'],
      ['Host: a \t', 'Host: a'],
      ['host:a', 'host:a'],
      ['Content-Length:\t5', 'Content-Length: 5'],
      ['Content-Length: 005', 'Content-Length: 5'],
      ['Content-Length: 0', 'Content-Length: 0'],
      ['Transfer-Encoding:  chunked', 'Transfer-Encoding: chunked'],
      ['transfer-encoding: CHUNKED\t', 'transfer-encoding: chunked'],
    ] as const) {
      const host = /^host/i.test(sent) ? 'Y: b' : 'Host: a'
      const { head, fault } = scan(get('X: a', sent, host))
      assert.equal(fault, null, sent)
      assert.equal(head.forward, `GET / HTTP/1.1\r\nX: a\r\n${goesOn}\r\n${host}\r\n`)
    }
  })

  test('absolute form becomes origin form', () => {
    const { head } = scan('GET http://A.test?x HTTP/1.1\r\nHost: a.TEST\r\n\r\n')
    assert.equal(head.forward, 'GET /?x HTTP/1.1\r\nHost: a.TEST\r\n')
  })

  test('HTTP/1.0 goes on as HTTP/1.1', () => {
    const { head } = scan('GET /x HTTP/1.0\r\nExpect: 100-continue\r\n\r\n')
    assert.equal(head.forward, 'GET /x HTTP/1.1\r\n')
    assert.deepEqual([head.close, head.minor], [true, 0])
    assert.equal(scan('GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n').head.close, false)
  })

  test('HTTP/1.0 may name its host in the target alone, and the app hears of it', () => {
    const { head, fault } = scan('GET http://A.test:80/x HTTP/1.0\r\nX: y\r\n\r\n')
    assert.equal(fault, null)
    assert.equal(head.host, 'A.test:80')
    assert.equal(head.forward, 'GET /x HTTP/1.1\r\nHost: A.test:80\r\nX: y\r\n')
  })

  test('a name that an app may take for one that frames or routes goes', () => {
    const { head } = scan(get('Host: a', 'Transfer_Encoding: chunked', 'content_length: 5'))
    assert.equal(head.forward, 'GET / HTTP/1.1\r\nHost: a\r\n')
    assert.equal(head.length, -1)
  })

  for (const [target, origin] of [
    ['*', '*'],
    ['http://a', '*'],
    ['http://a/', '/'],
    ['http://a?x', '/?x'],
  ] as const)
    test(`OPTIONS ${target} is OPTIONS ${origin} to the app`, () => {
      const { head } = scan(`OPTIONS ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
      assert.equal(head.target, origin)
    })

  for (const host of ['a.b:0', 'a:', '[::1]:80', '[::ffff:1.2.3.4]', '1.2.3.4', 'a_b', 'a%20b'])
    test(`Host ${host}`, () => {
      const { head, fault } = scan(get(`Host: ${host}`))
      assert.equal(fault, null)
      assert.equal(head.host, host)
    })

  for (const [fields, upgrade] of [
    [['Connection: Upgrade', 'Upgrade: websocket'], 'websocket'],
    [['Connection: keep-alive, upgrade', 'Upgrade: websocket'], 'websocket'],
    [['Upgrade: websocket'], ''],
    [['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: x'], ''],
    [['Connection: Upgrade', 'Upgrade: websocket, h2c'], ''],
  ] as const)
    test(`upgrade by ${fields.join('; ')}: ${upgrade || 'none'}`, () => {
      const { head, fault } = scan(get('Host: a', ...fields))
      assert.equal(fault, null)
      assert.equal(head.upgrade, upgrade)
      assert.equal(head.forward, 'GET / HTTP/1.1\r\nHost: a\r\n')
    })
})
