import assert from 'node:assert/strict'
import type net from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { BASIC, Client, connectTo, echo, record, SECRET, serve, startRig } from './testing.ts'

const AUTH = `Proxy-Authorization: ${BASIC}\r\n`
const errorOf = (head: string) => /^fairway-outbound-error: (\S+)/im.exec(head)?.[1]

/** Answers each request with what it got, as text. */
const mirror = (socket: net.Socket): void => {
  let text = ''
  socket.on('data', (data) => {
    text += data.toString('latin1')
    for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
      const length = Number(/^content-length: (\d+)/im.exec(text.slice(0, end))?.[1] ?? 0)
      if (text.length < end + 4 + length) return
      const request = text.slice(0, end + 4 + length)
      text = text.slice(request.length)
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${request.length}\r\n\r\n${request}`)
    }
  })
  socket.on('end', () => socket.end())
}

test('CONNECT: early octets go through, both ways, and each end is an end', async () => {
  await using rig = await startRig()
  await using origin = await serve(echo)
  using client = new Client(rig.http)
  client.send(`${connectTo(`127.0.0.1:${origin.port}`)}early`)
  assert.match(await client.read('\r\n\r\n'), /^HTTP\/1\.1 200 /)
  assert.equal(await client.read('early'), 'early')
  client.send('more')
  assert.equal(await client.read('more'), 'more')
  client.socket.end()
  assert.equal(await client.rest(), '')
  const [line] = rig.lines
  assert.equal(line?.result, 'ok')
  assert.deepEqual([line?.bytesUp, line?.bytesDown, line?.credential], [9, 9, 'u1'])
  assert.equal(line?.destination, `127.0.0.1:${origin.port}`)
  assert.doesNotMatch(JSON.stringify(rig.lines), new RegExp(SECRET))
})

test('a head in any pieces is the same request', async () => {
  await using rig = await startRig()
  await using origin = await serve(echo)
  const bytes = `${connectTo(`127.0.0.1:${origin.port}`)}x`
  const property = fc.asyncProperty(
    fc.array(fc.nat({ max: 40 }), { minLength: 1 }),
    async (cuts) => {
      using client = new Client(rig.http)
      client.socket.setNoDelay(true)
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = 1 + cuts[i % cuts.length]!
        client.send(bytes.slice(at, at + size))
        at += size
        if (i < 5) await new Promise((resolve) => setImmediate(resolve))
      }
      assert.match(await client.read('\r\n\r\nx'), /^HTTP\/1\.1 200 /)
    },
  )
  await fc.assert(property, { numRuns: 20 })
})

test('a forwarded request loses what was for the proxy, and keeps the connection', async () => {
  await using rig = await startRig()
  await using origin = await serve(mirror)
  const url = `http://127.0.0.1:${origin.port}`
  using client = new Client(rig.http)
  client.send(
    `GET ${url}/a?b HTTP/1.1\r\nHost: evil.example\r\n${AUTH}Proxy-Connection: keep-alive\r\n` +
      'Connection: x-mine\r\nX-Mine: 1\r\nTE: trailers\r\nVia: 1.0 other\r\nAccept: */*\r\n\r\n',
  )
  const first = await client.response()
  assert.equal(first.status, 200)
  assert.equal(
    first.body,
    `GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:${origin.port}\r\nAccept: */*\r\nVia: 1.0 other, 1.1 fairway\r\n\r\n`,
  )
  assert.match(first.head, /^via: 1\.1 fairway/im)
  client.send(`POST ${url} HTTP/1.1\r\nHost: x\r\n${AUTH}Content-Length: 5\r\n\r\nhello`)
  assert.match((await client.response()).body, /^POST \/ HTTP\/1\.1\r\n[\s\S]*\r\n\r\nhello$/)
  assert.equal(origin.sockets.size, 1, 'one connection for both')
  assert.doesNotMatch(first.body, /authorization/i)
})

test('pipelined requests to different destinations are answered in order', async () => {
  await using rig = await startRig()
  await using one = await serve(mirror)
  await using two = await serve(mirror)
  using client = new Client(rig.http)
  const ports = [one.port, two.port, one.port, one.port]
  client.send(
    ports
      .map((port, i) => `GET http://127.0.0.1:${port}/${i} HTTP/1.1\r\nHost: x\r\n${AUTH}\r\n`)
      .join(''),
  )
  for (const [i, port] of ports.entries()) {
    const { body } = await client.response()
    assert.ok(body.startsWith(`GET /${i} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`), body)
  }
})

test('bodies: chunked both ways, until close, HEAD, interim responses', async () => {
  await using rig = await startRig()
  await using origin = await serve((socket) => {
    socket.on('data', (data) => {
      const text = data.toString('latin1')
      if (text.startsWith('GET /chunked'))
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
      else if (text.startsWith('HEAD'))
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n')
      else if (text.includes('100-continue')) socket.write('HTTP/1.1 100 Continue\r\n\r\n')
      else if (text === '0\r\n\r\n') socket.write('HTTP/1.1 204 No Content\r\n\r\n')
      else if (text.startsWith('GET /close')) socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end')
    })
  })
  const request = (method: string, path: string, more = '') =>
    `${method} http://127.0.0.1:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n${AUTH}${more}\r\n`
  using client = new Client(rig.http)
  client.send(request('GET', '/chunked'))
  assert.match(await client.read('0\r\n\r\n'), /chunked[\s\S]*\r\n\r\n3\r\nabc\r\n0\r\n\r\n$/i)
  client.send(request('HEAD', '/'))
  assert.match(await client.read('\r\n\r\n'), /content-length: 99/i)
  client.send(`${request('POST', '/', 'Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n')}`)
  assert.match(await client.read('\r\n\r\n'), /^HTTP\/1\.1 100 /)
  client.send('0\r\n\r\n')
  assert.match(await client.read('\r\n\r\n'), /^HTTP\/1\.1 204 /)
  client.send(request('GET', '/close'))
  const all = await client.rest()
  assert.match(all, /connection: close/i)
  assert.ok(all.endsWith('\r\n\r\nuntil the end'))
})

test('half a response is cut, not ended', async () => {
  await using rig = await startRig()
  await using origin = await serve((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'))
  })
  using client = new Client(rig.http)
  const reset = new Promise((resolve) => client.socket.once('error', resolve))
  client.send(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: x\r\n${AUTH}\r\n`)
  assert.equal(((await reset) as NodeJS.ErrnoException).code, 'ECONNRESET')
  assert.equal(rig.lines[0]?.result, 'upstream_closed')
})

test('a kept connection that has just closed costs no request', async () => {
  await using rig = await startRig()
  let served = 0
  await using origin = await serve((socket) => {
    let first = true
    socket.on('data', () => {
      // Reads the second request of a connection, and dies of it.
      if (!first) socket.resetAndDestroy()
      else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${++served}`)
      first = false
    })
  })
  using client = new Client(rig.http)
  for (const want of ['1', '2']) {
    client.send(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: x\r\n${AUTH}\r\n`)
    assert.equal((await client.response()).body, want)
  }
})

test('credentials: none, wrong, expired and taken away are 407 with a challenge', async () => {
  let nowMs = Date.parse('2026-01-01T00:00:00Z')
  await using rig = await startRig({ now: () => nowMs })
  await using origin = await serve(mirror)
  const to = `127.0.0.1:${origin.port}`
  const answer = async (more: string) => {
    using client = new Client(rig.http)
    return await client.send(connectTo(to, more)).response()
  }
  const basic = (text: string) =>
    `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`
  const cases: [string, string][] = [
    ['', 'credentials_required'],
    [basic('u1:wrong'), 'credentials_refused'],
    [basic(`u2:${SECRET}`), 'credentials_refused'],
    [basic('u1'), 'credentials_refused'],
    [basic(`u1:${SECRET} `), 'credentials_refused'],
    ['Proxy-Authorization: Bearer abc\r\n', 'credentials_refused'],
  ]
  for (const [more, code] of cases) {
    const { status, head, body } = await answer(more)
    assert.deepEqual([status, errorOf(head)], [407, code], more)
    assert.match(head, /^proxy-authenticate: basic realm=/im)
    assert.match(body, /^Proxy-Authorization: /)
  }
  const [credential] = record().credentials
  rig.put({ credentials: [{ ...credential!, expiresAt: '2026-01-01T00:00:10.000Z' }] })
  using open = new Client(rig.http)
  const url = `GET http://${to}/ HTTP/1.1\r\nHost: x\r\n${AUTH}\r\n`
  assert.equal((await open.send(url).response()).status, 200)
  nowMs += 10_000
  assert.equal((await open.send(url).response()).status, 407, 'also on an open connection')
  rig.put({ credentials: [] })
  assert.equal((await answer(AUTH)).status, 407)
})

test('refused destinations, dead ones, unknown names: the documented answers', async () => {
  await using rig = await startRig({
    change: {
      allow: ['127.0.0.1:1', 'nowhere.example:443', 'broken.example', 'private.example'],
    },
    names: { 'broken.example': 'fails', 'private.example': ['10.0.0.1', '169.254.169.254'] },
  })
  const cases: [string, number, string][] = [
    ['169.254.169.254:80', 403, 'destination_refused'],
    ['[::ffff:169.254.169.254]:80', 403, 'destination_refused'],
    ['nowhere.example:444', 403, 'destination_refused'],
    ['private.example:443', 403, 'destination_refused'],
    ['203.0.113.2:9293', 403, 'destination_refused'],
    ['nowhere.example:443', 502, 'name_not_found'],
    ['broken.example:443', 502, 'name_failed'],
    ['127.0.0.1:1', 502, 'connect_refused'],
    ['2130706433:80', 400, 'bad_request'],
    ['0x7f.0.0.1:80', 400, 'bad_request'],
    ['127.0.0.1', 400, 'bad_request'],
    ['user@127.0.0.1:80', 400, 'bad_request'],
  ]
  for (const [to, status, code] of cases) {
    using client = new Client(rig.http)
    const got = await client.send(connectTo(to)).response()
    assert.deepEqual([got.status, errorOf(got.head)], [status, code], to)
    assert.match(got.body, /^(destination [^\n]+|request): [^\n]+\n$/)
  }
  assert.deepEqual(
    rig.lines.map(({ result }) => result),
    cases.map(([, , code]) => code),
  )
})

test('anything ambiguous is refused', async () => {
  await using rig = await startRig()
  const url = 'http://127.0.0.1:9/'
  const cases: [string, number][] = [
    ['GET / HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    [`GET https://x.example/ HTTP/1.1\r\nHost: x\r\n\r\n`, 400],
    [`GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n`, 400],
    [`GET http://u:p@x/ HTTP/1.1\r\nHost: x\r\n\r\n`, 400],
    [`GET ${url} HTTP/2.0\r\n\r\n`, 505],
    [`GET  ${url} HTTP/1.1\r\n\r\n`, 400],
    [`GET ${url} HTTP/1.1\nHost: x\n\n`, 400],
    [`TRACE ${url} HTTP/1.1\r\n\r\n`, 405],
    [`POST ${url} HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    [`POST ${url} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n`, 400],
    [`POST ${url} HTTP/1.1\r\nContent-Length: +1\r\n\r\n`, 400],
    [`POST ${url} HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n`, 400],
    [`POST ${url} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n`, 400],
    [`GET ${url} HTTP/1.1\r\nX : 1\r\n\r\n`, 400],
    [`GET ${url} HTTP/1.1\r\nX: 1\r\n folded\r\n\r\n`, 400],
    [`GET ${url} HTTP/1.1\r\nConnection: content-length\r\n\r\n`, 400],
    [`GET ${url} HTTP/1.1\r\n${AUTH}${AUTH}\r\n`, 400],
    [`CONNECT 127.0.0.1:9 HTTP/1.1\r\nContent-Length: 3\r\n\r\n`, 400],
    [`GET ${url}${'a'.repeat(17_000)} HTTP/1.1\r\n\r\n`, 414],
    [`GET ${url} HTTP/1.1\r\n${'X: 1\r\n'.repeat(129)}\r\n`, 431],
    [`GET ${url} HTTP/1.1\r\nX: ${'a'.repeat(66_000)}`, 431],
  ]
  for (const [request, status] of cases) {
    using client = new Client(rig.http)
    const got = await client.send(request).response()
    assert.equal(got.status, status, request.slice(0, 100))
    await client.rest()
  }
})

test('whatever octets come, the proxy lives', async () => {
  await using rig = await startRig()
  const piece = fc.oneof(
    fc.constantFrom(
      'CONNECT ',
      'GET http://',
      '127.0.0.1:9',
      ' HTTP/1.1',
      '\r\n',
      '\r\n\r\n',
      AUTH,
    ),
    fc.string({ maxLength: 20, unit: 'binary' }),
  )
  const property = fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
    using client = new Client(rig.http)
    client.send(Buffer.from(pieces.join(''), 'latin1'))
    client.socket.end()
    await client.rest()
  })
  await fc.assert(property, { numRuns: 60 })
  assert.equal(rig.proxy.snapshot().open, 0)
})

test('a reader that stops stops the writer, both ways', async () => {
  await using rig = await startRig()
  let sent = 0
  await using origin = await serve((socket) => {
    const chunk = Buffer.alloc(64 * 1024)
    const more = () => {
      while (sent < TOTAL) {
        sent += chunk.length
        if (!socket.write(chunk)) return
      }
      socket.end()
    }
    socket.on('drain', more)
    more()
    socket.resume()
  })
  using client = new Client(rig.http)
  client.send(connectTo(`127.0.0.1:${origin.port}`))
  await client.read('\r\n\r\n')
  client.socket.pause()
  await settled(() => sent)
  assert.ok(sent < TOTAL, `${sent} octets were taken although nobody reads`)
  let got = client.waiting
  client.socket.removeAllListeners('data').on('data', (data) => (got += data.length))
  client.socket.resume()
  await new Promise((resolve) => client.socket.once('end', resolve))
  assert.equal(got, sent)

  await using sink = await serve((socket) => void socket.pause())
  using writer = new Client(rig.http)
  writer.send(connectTo(`127.0.0.1:${sink.port}`))
  await writer.read('\r\n\r\n')
  const up = () => writer.socket.bytesWritten - writer.socket.writableLength
  writer.socket.write(Buffer.alloc(TOTAL))
  await settled(up)
  assert.ok(writer.socket.writableLength > 0, 'not all of it was taken')
})
const TOTAL = 64 * 1024 * 1024

/** Waits until a number has not changed for a while. */
async function settled(value: () => number): Promise<void> {
  for (let last = -1, same = 0; same < 5; ) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    same = value() === last ? same + 1 : 0
    last = value()
  }
}
