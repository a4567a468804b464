import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import { eventually, Lab, ok, onRequests } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
/** Echoes the request line and the headers it got, one line each. */
const echo = () => lab.app((socket) => onRequests(socket, (head) => socket.write(ok(head))))

describe('http_options', () => {
  test('response.headers set, replace and delete; framing stays', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, () =>
        socket.write(
          'HTTP/1.1 200 OK\r\nX-Powered-By: x\r\nx-frame: a\r\nContent-Length: 0\r\n\r\n',
        ),
      ),
    )
    const headers = {
      ...{ 'x-powered-by': false, 'X-Frame': 'b', 'Set-Cookie': ['a=1', 'b=2'] },
      ...{ 'Content-Length': '7', 'X-Bad': 'a\r\nb' },
    }
    const edge = await lab.simple(port, { httpOptions: { response: { headers } } })
    const text = await lab.client(edge.port).send(GET).until('\r\n\r\n')
    assert.match(text, /\r\nX-Frame: b\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n/)
    assert.doesNotMatch(text, /Powered|x-frame: a|Length: 7|X-Bad/)
  })

  test('response.headers have the last word on what the edge says of itself', async () => {
    const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('ok'))))
    const headers = { Server: 'mine', via: false, date: false, 'fly-request-id': ['a'] }
    const edge = await lab.simple(port, { httpOptions: { response: { headers } } })
    const text = await lab.client(edge.port).send(GET).until(/ok$/)
    assert.equal(
      text,
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: mine\r\nfly-request-id: a\r\n\r\nok',
    )
  })

  test('pristine adds nothing to what the app says of itself', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, () =>
        socket.write('HTTP/1.1 200 OK\r\nServer: mine\r\nDate: d\r\nContent-Length: 0\r\n\r\n'),
      ),
    )
    const edge = await lab.simple(port, { httpOptions: { response: { pristine: true } } })
    const text = await lab.client(edge.port).send(GET).until('\r\n\r\n')
    assert.equal(text, 'HTTP/1.1 200 OK\r\nServer: mine\r\nDate: d\r\nContent-Length: 0\r\n\r\n')
  })

  test('force_https', async () => {
    const edge = await lab.simple(await echo(), { forceHttps: true })
    const client = lab.client(edge.port)
    client.send('GET /a?b=c HTTP/1.1\r\nHost: Hello.fairway.test:80\r\n\r\n')
    assert.match(
      await client.until('\r\n\r\n'),
      /^HTTP\/1.1 301 Moved Permanently\r\n[\s\S]*Location: https:\/\/Hello.fairway.test\/a\?b=c\r\n/,
    )
  })

  test('an idle_timeout ends the wait for the app', async () => {
    let time = 0
    const port = await lab.app(() => {})
    const services = [{ port: 80, internalPort: port, httpOptions: { idle_timeout: 2 } }]
    const apps = [{ name: 'hello', addresses: ['203.0.113.5'], machines: [{ id: 'm1', services }] }]
    const edge = await lab.edge(apps, { monotonic: () => time })
    const client = lab.client(edge.port).send(GET)
    await eventually(() => edge.proxy.snapshot().totals.client_bytes_received! > 0)
    time += 2_500
    assert.match(await client.until(/\(PU02\)\n/), /^HTTP\/1.1 504 /)
    assert.equal(edge.limit('request_idle_ms'), 1)
  })
})
