import assert from 'node:assert/strict'
import http from 'node:http'
import { afterEach, describe, test } from 'node:test'
import { eventually, Lab, ok, onRequests } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
/** Echoes the request line and the headers it got, one line each. */
const echo = () => lab.app((socket) => onRequests(socket, (head) => socket.write(ok(head))))

describe('requests and responses', () => {
  test('keep-alive on both sides, and what the edge says to both', async () => {
    let connections = 0
    const port = await lab.app((socket) => {
      connections++
      onRequests(socket, (head) => socket.write(ok(head)))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    const first = await client.send(GET).until(/Via: 1.1 fly.io\r\nX-F.*\r\n$/)
    const id = /Fly-Request-Id: ([0-9A-Z]{26}-iad)\r\n/.exec(first)![1]!
    assert.match(
      first,
      /^HTTP\/1.1 200 OK\r\nContent-Length: \d+\r\nDate: .*\r\nServer: fairway\r\n/,
    )
    assert.match(first, /\r\nVia: 1.1 fly.io\r\n/)
    assert.equal(
      first.slice(first.indexOf('\r\n\r\n') + 4),
      'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1, 203.0.113.5\r\n' +
        'Fly-Client-IP: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-SSL: off\r\n' +
        'Fly-Forwarded-Port: 80\r\nFly-Region: iad\r\n' +
        `Fly-Request-Id: ${id}\r\nVia: 1.1 fly.io\r\nX-Forwarded-Port: 80\r\n`,
    )
    client.text = ''
    const spoofed = await client
      .send(
        'GET /2 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nFly-Client-IP: 6.6.6.6\r\n\r\n',
      )
      .until(/X-Forwarded-Port: 80\r\n$/)
    assert.match(spoofed, /X-Forwarded-For: 6.6.6.6, 127.0.0.1, 203.0.113.5\r\n/)
    assert.equal(spoofed.match(/Fly-Client-IP: (.*)/g)?.join(), 'Fly-Client-IP: 127.0.0.1')
    assert.equal(connections, 1)
  })

  test('a request cut at any octet is the same request', async () => {
    const edge = await lab.simple(await echo())
    const request = 'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhello'
    for (let cut = 1; cut < request.length; cut++) {
      const client = lab.client(edge.port)
      client.send(request.slice(0, cut))
      await new Promise((resolve) => setImmediate(resolve))
      client.send(request.slice(cut))
      const text = await client.until(/X-Forwarded-Port: 80\r\n$/)
      assert.match(text, /POST \/x HTTP\/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n/)
      client.socket.destroy()
    }
  })

  test('octet by octet, response too', async () => {
    const slowly = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
    const port = await lab.app((socket) =>
      onRequests(socket, async () => {
        for (const c of slowly) {
          socket.write(c)
          await new Promise((resolve) => setImmediate(resolve))
        }
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    for (const c of GET) client.send(c)
    assert.match(
      await client.until('0\r\n\r\n'),
      /chunked\r\n[\s\S]*\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/,
    )
  })

  test('HEAD, 204 and 304 have no body, whatever their length says', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, (head) => {
        const status = /^GET \/(\d+)/.exec(head)?.[1] ?? '200'
        socket.write(
          `HTTP/1.1 ${status} X\r\n${status === '204' ? '' : 'Content-Length: 9\r\n'}\r\n`,
        )
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    for (const request of ['HEAD / HTTP/1.1', 'GET /204 HTTP/1.1', 'GET /304 HTTP/1.1']) {
      client.text = ''
      await client.send(`${request}\r\nHost: a\r\n\r\n`).until(/\r\n\r\n$/)
    }
  })

  test('pipelined requests are answered one by one, in order', async () => {
    let inFlight = 0
    const port = await lab.app((socket) =>
      onRequests(socket, (head) => {
        assert.equal(++inFlight, 1)
        setTimeout(() => {
          inFlight--
          socket.write(ok(/^\w+ (\S+)/.exec(head)![1]!))
        }, 2)
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    const all = Array.from({ length: 20 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`)
    client.send(`POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc${all.join('')}`)
    const text = await client.until(/\/19$/)
    const paths = [...text.matchAll(/\r\n\r\n(\/(?:p|\d+))/g)].map((m) => m[1])
    assert.deepEqual(paths, ['/p', ...all.map((_, i) => `/${i}`)])
  })

  test('interim responses and Expect go through', async () => {
    const port = await lab.app((socket) => {
      socket.once('data', (data: Buffer) => {
        assert.match(String(data), /Expect: 100-continue\r\n/)
        socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n')
        socket.once('data', (body: Buffer) => socket.write(ok(String(body))))
      })
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    client.send('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n')
    assert.equal(
      await client.until('Continue\r\n\r\n'),
      'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n',
    )
    client.text = ''
    assert.match(await client.send('body').until('body'), /^HTTP\/1.1 200 OK/)
  })

  test('an answer before the request has ended closes the connection after it', async () => {
    const port = await lab.app((socket) => {
      socket.once('data', () => socket.write(ok('no')))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning')
    assert.match(await client.end(), /Connection: close\r\n[\s\S]*\r\n\r\nno$/)
    assert.equal(client.error, undefined)
  })

  test('a body without framing is ended by the connection', async () => {
    const port = await lab.app((socket) => {
      onRequests(socket, () => socket.end('HTTP/1.0 200 OK\r\n\r\nold style'))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port).send(GET)
    assert.match(
      await client.end(),
      /Via: 1.0 fly.io\r\n[\s\S]*Connection: close|Connection: close[\s\S]*Via: 1.0 fly.io/,
    )
    assert.match(client.text, /\r\n\r\nold style$/)
  })

  test('426 names the protocol that is needed, other responses do not', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, (head) => {
        const status = head.startsWith('GET /426') ? '426 Upgrade Required' : '200 OK'
        const fields = 'Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n'
        socket.write(`HTTP/1.1 ${status}\r\n${fields}`)
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    const refused = await client.send(GET.replace('/', '/426')).until('\r\n\r\n')
    assert.match(refused, /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/)
    client.text = ''
    assert.doesNotMatch(await client.send(GET).until('\r\n\r\n'), /upgrade/i)
  })

  test('an HTTP/1.0 client gets chunks unwrapped and no keep-alive', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, (head) => {
        assert.match(
          head,
          /^GET \/x HTTP\/1.1\r\n[\s\S]*Via: 1.0 fly.io\r\n[\s\S]*\r\nHost: 203.0.113.5\r\n/,
        )
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
        setTimeout(() => socket.write('6\r\n world\r\n0\r\n\r\n'), 5)
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port).send('GET /x HTTP/1.0\r\n\r\n')
    const text = await client.end()
    assert.match(text, /\r\n\r\nhello world$/)
    assert.doesNotMatch(text, /chunked/)
  })

  test('an HTTP/1.0 client may ask for keep-alive', async () => {
    const edge = await lab.simple(await echo())
    const client = lab.client(edge.port)
    for (let i = 0; i < 2; i++) {
      client.text = ''
      client.send('GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n')
      assert.match(await client.until(/Port: 80\r\n$/), /\r\nConnection: keep-alive\r\n/)
    }
  })
})

describe('what is refused', () => {
  for (const [name, text, status] of [
    [
      'both framings',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
    ],
    ['a bare LF, before the head is whole', 'GET / HTTP/1.1\nHost: a\n\n', 400],
    ['TLS', '\x16\x03\x01\x02\x00', 400],
    ['an endless head', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(70_000)}`, 431],
    ['an endless target', `GET /${'a'.repeat(17_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
    ['a bad chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
    ['two empty lines', '\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ] as const)
    test(`${name}: ${status} and the end`, async () => {
      const edge = await lab.simple(await echo())
      const client = lab.client(edge.port).send(text)
      assert.match(
        await client.end(),
        new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*\\r\\nConnection: close\\r\\n`),
      )
    })

  test('a bad chunk in the middle ends the app’s connection, and the app never sees it', async () => {
    let seen = ''
    let closed = false
    const port = await lab.app((socket) => {
      socket.on('data', (data: Buffer) => (seen += String(data)))
      socket.on('end', () => (closed = true))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')
    await eventually(() => seen.includes('hello'))
    client.send('0\nGET /smuggled HTTP/1.1\r\n\r\n')
    assert.match(await client.end(), /^HTTP\/1.1 400 /)
    await eventually(() => closed)
    assert.doesNotMatch(seen, /smuggled/)
  })

  test('even a refusal has no body for HEAD', async () => {
    const edge = await lab.simple(await echo())
    const client = lab.client(edge.port)
    client.send('HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n')
    assert.match(await client.end(), /^HTTP\/1.1 400 [\s\S]*\r\n\r\n$/)
  })

  test('one empty line before a request is forgiven', async () => {
    const edge = await lab.simple(await echo())
    await lab
      .client(edge.port)
      .send(`\r\n${GET}`)
      .until(/Port: 80\r\n$/)
  })

  for (const [name, response] of [
    ['both framings', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
    ['an endless head', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}`],
    ['a whole head that is too long', `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(65_536)}\r\n\r\n`],
    ['an unasked-for 101', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['a bad first chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['many interim responses', 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(100)],
    ['nothing', ''],
  ] as const)
    test(`from the app: ${name}`, async () => {
      const port = await lab.app((socket) => onRequests(socket, () => socket.end(response)))
      const edge = await lab.simple(port)
      const client = lab.client(edge.port).send(GET.replace('GET', 'POST'))
      assert.match(await client.until(/\(PU02\)\n$/), /HTTP\/1.1 502 Bad Gateway\r\n/)
      assert.equal(edge.logs.at(-1)?.code, 'PU02')
    })

  for (const [name, response] of [
    ['bare LF', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'],
    ['no HTTP', 'ready\r\n'],
  ] as const)
    test(`an app that answers with ${name} and stays is not waited for`, async () => {
      const port = await lab.app((socket) => onRequests(socket, () => socket.write(response)))
      const edge = await lab.simple(port)
      const client = lab.client(edge.port).send(GET.replace('GET', 'POST'))
      assert.match(await client.until(/\(PU02\)\n$/), /HTTP\/1.1 502 Bad Gateway\r\n/)
    })

  test('what an app says without being asked belongs to nobody', async () => {
    let n = 0
    const port = await lab.app((socket) =>
      onRequests(socket, () => {
        socket.write(ok(`answer ${n++}`) + (n === 1 ? ok('poison') : ''))
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    await client.send(GET).until('answer 0')
    await client.send(GET).until('answer 1')
    assert.doesNotMatch(client.text, /poison/)
  })
})

describe('ends', () => {
  test('a client that goes away ends its upstream', async () => {
    let upstreamClosed = false
    let asked = false
    const port = await lab.app((socket) => {
      onRequests(socket, () => (asked = true))
      socket.on('end', () => (upstreamClosed = true))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port).send(GET)
    await eventually(() => asked)
    client.socket.resetAndDestroy()
    await eventually(() => upstreamClosed)
    await eventually(() => edge.count('connections') === 0)
  })

  test('a client that closes its side still gets its answer', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, () => setTimeout(() => socket.write(ok('late')), 20)),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port).send(GET)
    client.socket.end()
    assert.match(await client.end(), /late$/)
  })

  test('half a response is never taken for a whole one', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')
        setTimeout(() => socket.destroy(), 5)
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port).send(GET)
    await client.end()
    await eventually(() => client.error === 'ECONNRESET')
    assert.equal(edge.logs.at(-1)?.code, 'PU02')
  })

  test('Connection: close is honoured on both sides', async () => {
    let n = 0
    const port = await lab.app((socket) => {
      onRequests(socket, () => {
        n++
        socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
      })
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    await client.send(GET).until(/ok$/)
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(await client.end(), /\r\nConnection: close\r\n[\s\S]*ok$/)
    assert.equal(n, 2)
  })

  test('what a drain does not wait for any longer is no regular end', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, () => socket.write('HTTP/1.1 200 OK\r\n\r\nhalf of it')),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    await client.send(GET).until(/half of it$/)
    const ended = new Promise((resolve) => {
      client.socket.once('end', () => resolve('a regular end'))
      client.socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
    })
    await edge.proxy.drain(1)
    assert.equal(await ended, 'ECONNRESET')
  })

  test('a drain lets requests finish and ends idle connections', async () => {
    let answer: (() => void) | undefined
    const port = await lab.app((socket) =>
      onRequests(socket, (head) => {
        if (head.startsWith('GET /slow')) answer = () => socket.write(ok('slow'))
        else socket.write(ok('quick'))
      }),
    )
    const edge = await lab.simple(port)
    const idle = lab.client(edge.port)
    await idle.send(GET).until('quick')
    const busy = lab.client(edge.port).send(GET.replace('/', '/slow'))
    await eventually(() => answer !== undefined && edge.count('connections') === 2)
    const drained = edge.proxy.drain(5_000)
    await idle.end()
    answer!()
    assert.match(await busy.end(), /Connection: close\r\n[\s\S]*slow$/)
    busy.socket.end()
    idle.socket.end()
    await drained
  })
})

describe('node’s own client and server', () => {
  test('bodies both ways, by length and by chunks', async () => {
    const port = await lab.server(
      http.createServer((request, response) => {
        if (request.url === '/length') response.setHeader('content-length', 200_000)
        request.pipe(response)
      }),
    )
    const edge = await lab.simple(port)
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    lab.later(() => agent.destroy())
    const body = Buffer.alloc(200_000, 'abcdefghij')
    for (const path of ['/length', '/chunks', '/length']) {
      const got = await new Promise<Buffer>((resolve, reject) => {
        const options = { port: edge.port, host: '127.0.0.1', path, agent, method: 'POST' }
        const request = http.request(options, (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.on('end', () => resolve(Buffer.concat(parts)))
        })
        request.on('error', reject)
        for (let i = 0; i < body.length; i += 10_000) request.write(body.subarray(i, i + 10_000))
        request.end()
      })
      assert.ok(got.equals(body), path)
    }
  })
})
