import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Client, echo, SECRET, serve, startRig } from './testing.ts'

const HELLO = Uint8Array.of(5, 2, 0, 2)
const login = (name = 'u1', secret = SECRET) =>
  Uint8Array.from([1, name.length, ...Buffer.from(name), secret.length, ...Buffer.from(secret)])
const port2 = (port: number) => [port >> 8, port & 255]
const ask = (type: number, address: readonly number[], port: number, command = 1) =>
  Uint8Array.from([5, command, 0, type, ...address, ...port2(port)])
const name = (text: string) => [text.length, ...Buffer.from(text)]
const LOOPBACK6 = [...Array(15).fill(0), 1]
const codes = (text: string) => [...Buffer.from(text, 'latin1')]

/** Logs in and asks; gives the reply field, and leaves the client where the stream begins. */
async function connect(client: Client, request: Uint8Array): Promise<number> {
  client.send(HELLO)
  assert.deepEqual(codes(await client.read(2)), [5, 2])
  client.send(login())
  assert.deepEqual(codes(await client.read(2)), [1, 0])
  client.send(request)
  const reply = codes(await client.read(10))
  assert.deepEqual([reply[0], reply.length], [5, 10])
  return reply[1]!
}

test('IPv4, IPv6 and names are connected to, names resolved here', async () => {
  await using rig = await startRig({ names: { 'db.example': ['127.0.0.1'] }, change: {} })
  await using four = await serve(echo)
  await using six = await serve(echo, '::1')
  rig.put({ allow: ['127.0.0.0/8', '::1'] })
  for (const request of [
    ask(1, [127, 0, 0, 1], four.port),
    ask(4, LOOPBACK6, six.port),
    ask(3, name('127.0.0.1'), four.port),
    ask(3, name('DB.example.'), four.port),
  ]) {
    using client = new Client(rig.socks)
    assert.equal(await connect(client, request), 0)
    assert.equal(await client.send('ping').read('ping'), 'ping')
    client.socket.end()
    assert.equal(await client.rest(), '')
  }
  assert.ok(rig.lines.every(({ result, protocol }) => result === 'ok' && protocol === 'socks5'))
})

test('who had logged in when the proxy was destroyed opens nothing any more', async () => {
  await using rig = await startRig()
  await using origin = await serve(echo)
  using client = new Client(rig.socks)
  client.send(HELLO).send(login())
  await client.read(4)
  rig.directory.delete('p1')
  client.send(ask(1, [127, 0, 0, 1], origin.port))
  assert.equal(codes(await client.read(10))[1], 2)
  assert.equal(rig.lines[0]!.result, 'credentials_refused')
})

test('all steps may come at once, with the first octets of the stream', async () => {
  await using rig = await startRig()
  await using origin = await serve(echo)
  const whole = Buffer.concat([
    HELLO,
    login(),
    ask(1, [127, 0, 0, 1], origin.port),
    Buffer.from('x'),
  ])
  const property = fc.asyncProperty(fc.integer({ min: 1, max: whole.length }), async (size) => {
    using client = new Client(rig.socks)
    client.socket.setNoDelay(true)
    for (let at = 0; at < whole.length; at += size) client.send(whole.subarray(at, at + size))
    assert.deepEqual(codes(await client.read(4)), [5, 2, 1, 0])
    assert.equal(codes(await client.read(10))[1], 0)
    assert.equal(await client.read(1), 'x')
  })
  await fc.assert(property, { numRuns: 20 })
})

test('what is refused, with the reply of RFC 1928', async () => {
  await using rig = await startRig({
    change: { allow: ['*', '127.0.0.1'] },
    names: { 'broken.example': 'fails', 'private.example': ['192.168.0.1'] },
  })
  const cases: [Uint8Array, number][] = [
    [ask(1, [127, 0, 0, 1], 9, 2), 7],
    [ask(1, [127, 0, 0, 1], 9, 3), 7],
    [ask(2, [127, 0, 0, 1], 9), 8],
    [ask(1, [10, 0, 0, 1], 80), 2],
    [ask(4, [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 127, 0, 0, 1], 80), 2],
    [ask(3, name('private.example'), 80), 2],
    [ask(3, name('0x7f000001'), 80), 1],
    [ask(3, name('a\0b'), 80), 1],
    [ask(3, [0], 80), 1],
    [ask(1, [127, 0, 0, 1], 0), 1],
    [ask(3, name('nowhere.example'), 80), 4],
    [ask(3, name('broken.example'), 80), 4],
    [ask(1, [127, 0, 0, 1], 1), 5],
  ]
  for (const [request, reply] of cases) {
    using client = new Client(rig.socks)
    assert.equal(await connect(client, request), reply, Buffer.from(request).toString('hex'))
    assert.equal(await client.rest(), '')
  }
  assert.equal(rig.lines.length, cases.length)
})

test('nobody comes in without a user name and the right secret', async () => {
  await using rig = await startRig()
  {
    using client = new Client(rig.socks)
    assert.deepEqual(codes(await client.send(Uint8Array.of(5, 1, 0)).rest()), [5, 0xff])
  }
  for (const wrong of [login('u1', 'wrong'), login('u2'), login('', ''), login('u1', '')]) {
    using client = new Client(rig.socks)
    assert.deepEqual(codes(await client.send(HELLO).read(2)), [5, 2])
    assert.deepEqual(codes(await client.send(wrong).rest()), [1, 1])
  }
  for (const other of ['\x04\x01', 'GET / HTTP/1.1\r\n\r\n']) {
    using client = new Client(rig.socks)
    assert.equal(await client.send(other).rest(), '')
  }
  assert.deepEqual(
    rig.lines.map(({ result }) => result),
    ['credentials_required', ...Array(4).fill('credentials_refused')],
  )
})

test('whatever octets come, the proxy lives', async () => {
  await using rig = await startRig()
  const piece = fc.oneof(
    fc.constantFrom(HELLO, login(), ask(1, [10, 0, 0, 1], 80), ask(3, [255], 80)),
    fc.uint8Array({ maxLength: 30 }),
  )
  const property = fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
    using client = new Client(rig.socks)
    client.send(Buffer.concat(pieces))
    client.socket.end()
    await client.rest()
  })
  await fc.assert(property, { numRuns: 60 })
})
