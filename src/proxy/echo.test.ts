import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { echoResponse } from './echo.ts'
import { Lab, SHARED } from './testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4)

test('a caller learns its address, as text and as JSON, on one connection', async () => {
  const edge = await lab.edge([{ name: 'one', sharedV4: SHARED, machines: [] }], {
    address: SHARED,
  })
  const client = lab.client(edge.port)
  const ask = async (line: string, fields = '') => {
    client.text = ''
    const head = `${line} HTTP/1.1\r\nHost: ip.fairway.test\r\n${fields}\r\n`
    return client.send(head).until(/\r\n\r\n[\s\S]*\n$/)
  }
  const text = await ask('GET /')
  assert.match(text, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain/)
  assert.match(text, /\r\nCache-Control: no-store\r\n/)
  assert.equal(bodyOf(text), '127.0.0.1\n')
  for (const json of [await ask('GET /json'), await ask('GET /', 'Accept: application/json\r\n')]) {
    const { port, ...rest } = JSON.parse(bodyOf(json)) as Record<string, unknown>
    assert.equal(typeof port, 'number')
    assert.deepEqual(Object.keys(rest), ['ip', 'family', 'region', 'host'])
    assert.deepEqual([rest.ip, rest.family], ['127.0.0.1', 4])
  }
  assert.match(await ask('GET /other'), /^HTTP\/1\.1 404 /)
  assert.match(await ask('DELETE /'), /^HTTP\/1\.1 405 [\s\S]*\r\nAllow: GET, HEAD\r\n/)
})

test('what a client says of its address changes nothing', async () => {
  const edge = await lab.edge([], { address: SHARED })
  const client = lab.client(edge.port)
  const lie = 'Fly-Client-IP: 9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n'
  const head = `GET / HTTP/1.1\r\nHost: IP.Fairway.Test.\r\n${lie}\r\n`
  assert.equal(bodyOf(await client.send(head).until(/\r\n\r\n.*\n$/)), '127.0.0.1\n')
})

const base = {
  ...{ method: 'GET', target: '/', fields: '', clientAddress: '2001:db8::7', clientPort: 1024 },
  ...{ region: 'iad', host: 'iad1', requestId: 'R', close: false },
}

test('HEAD has the length and no body; a query changes nothing', () => {
  const { text } = echoResponse({ ...base, method: 'HEAD', target: '/?x=/json' })
  assert.match(text, /\r\nContent-Length: 12\r\n/)
  assert.equal(bodyOf(text), '')
})

test('JSON is for those who ask for it', () => {
  const isJson = (accept: string) =>
    echoResponse({ ...base, fields: `X: y\r\nAccept: ${accept}\r\n` }).text.includes('"family":6')
  assert.ok(isJson('text/html, application/json;q=0.9'))
  assert.ok(!isJson('*/*'))
  assert.ok(!isJson('application/json;q=0'))
  assert.ok(!isJson('application/jsonp'))
})
