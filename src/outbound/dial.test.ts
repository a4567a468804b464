import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import type { Connect } from './context.ts'
import type { Source } from './directory.ts'
import { plainConnect } from './outbound-proxy.ts'
import { Client, connectTo, echo, record, serve, startRig } from './testing.ts'

const A: Source = { pair: 'a', v4: '127.0.0.2', v6: '::1', portMin: 1, portMax: 65_535 }
const B: Source = { ...A, pair: 'b', v4: '127.0.0.3' }

type Fate = 'works' | 'hangs' | 'EADDRNOTAVAIL' | 'ENETUNREACH'

/** Connects, or does not, by the source or the address; notes what was tried. */
function connectBy(fate: (pair: string, address: string) => Fate): {
  connect: Connect
  tried: string[]
} {
  const tried: string[] = []
  const connect: Connect = (options, source) => {
    const pair = source?.pair ?? ''
    tried.push(`${pair} ${options.address}`)
    const what = fate(pair, options.address)
    if (what === 'works') return plainConnect(options, source)
    const socket = new net.Socket()
    if (what !== 'hangs')
      setImmediate(() => socket.destroy(Object.assign(new Error(what), { code: what })))
    return socket
  }
  return { connect, tried }
}

async function open(port: number, to: string): Promise<number> {
  using client = new Client(port)
  const head = await client.send(connectTo(to)).read('\r\n\r\n')
  return Number(head.slice(9, 12))
}

test('connections take turns between the addresses', async () => {
  const { connect, tried } = connectBy(() => 'works')
  await using rig = await startRig({ connect, sources: [A, B] })
  await using origin = await serve(echo)
  for (let i = 0; i < 6; i++) assert.equal(await open(rig.http, `127.0.0.1:${origin.port}`), 200)
  assert.deepEqual(tried.map((t) => t[0]).join(''), 'ababab')
})

for (const fate of ['hangs', 'EADDRNOTAVAIL', 'ENETUNREACH'] as const)
  test(`an address that ${fate} is replaced by the other`, async () => {
    const { connect, tried } = connectBy((pair) => (pair === 'a' ? fate : 'works'))
    await using rig = await startRig({ connect, sources: [A, B] })
    await using origin = await serve(echo)
    for (let i = 0; i < 6; i++) assert.equal(await open(rig.http, `127.0.0.1:${origin.port}`), 200)
    const used = tried.map((t) => t[0])
    assert.equal(used.filter((pair) => pair === 'b').length, 6)
    // What hangs costs a wait, so that it is left out for a while; an error at once costs nothing.
    assert.equal(used.filter((pair) => pair === 'a').length, fate === 'hangs' ? 1 : 3)
  })

test('one that is draining or has no block here is not used at all; none is 503', async () => {
  const { connect, tried } = connectBy(() => 'works')
  await using rig = await startRig({ connect, sources: [B] })
  await using origin = await serve(echo)
  for (let i = 0; i < 3; i++) assert.equal(await open(rig.http, `127.0.0.1:${origin.port}`), 200)
  assert.deepEqual(new Set(tried.map((t) => t[0])), new Set(['b']))
  rig.put({}, [])
  assert.equal(await open(rig.http, `127.0.0.1:${origin.port}`), 503)
  rig.put({}, [{ ...A, v4: null }])
  assert.equal(await open(rig.http, `127.0.0.1:${origin.port}`), 503)
})

test('the other family is tried when one hangs; the address that was checked is dialled', async () => {
  const { connect, tried } = connectBy((_, address) => (address === '::1' ? 'hangs' : 'works'))
  await using rig = await startRig({ connect, names: { 'both.example': ['127.0.0.1', '::1'] } })
  rig.put({ allow: ['127.0.0.0/8', '::1'] })
  await using origin = await serve(echo)
  assert.equal(await open(rig.http, `both.example:${origin.port}`), 200)
  assert.deepEqual(tried, [' ::1', ' 127.0.0.1'])
})

test('a name whose answer changes after the check is dialled where it was checked', async () => {
  let answers = 0
  const names = {
    get 'rebound.example'() {
      answers++
      return answers <= 2 ? ['127.0.0.1'] : ['10.0.0.1']
    },
  }
  const { connect, tried } = connectBy(() => 'works')
  await using rig = await startRig({ connect, names })
  await using origin = await serve(echo)
  assert.equal(await open(rig.http, `rebound.example:${origin.port}`), 200)
  assert.deepEqual(tried, [' 127.0.0.1'])
})

test('of several addresses, only those that are allowed are dialled', async () => {
  const { connect, tried } = connectBy(() => 'works')
  const names = { 'mixed.example': ['10.0.0.1', '169.254.169.254', '127.0.0.1', 'fd00::1'] }
  await using rig = await startRig({ connect, names })
  await using origin = await serve(echo)
  assert.equal(await open(rig.http, `mixed.example:${origin.port}`), 200)
  assert.deepEqual(tried, [' 127.0.0.1'])
})

test('a proxy that is destroyed opens nothing that was on its way', async () => {
  const { connect, tried } = connectBy(() => 'hangs')
  await using rig = await startRig({ connect })
  using client = new Client(rig.http)
  client.send(connectTo('127.0.0.1:1'))
  await ended(() => (tried.length === 0 ? 1 : 0))
  rig.directory.delete('p1')
  assert.match((await client.response()).head, /407[\s\S]*error: credentials_refused/i)
})

test('a destination that refuses is asked once', async () => {
  const { connect, tried } = connectBy(() => 'works')
  await using rig = await startRig({ connect, sources: [A, B] })
  assert.equal(await open(rig.http, '127.0.0.1:1'), 502)
  assert.equal(tried.length, 1)
})

test('limits: connections, new ones per second, octets per second', async () => {
  let nowMs = 1_000_000
  await using rig = await startRig({ now: () => nowMs })
  await using origin = await serve(echo)
  const to = `127.0.0.1:${origin.port}`
  const { limits } = record()
  rig.put({ limits: { ...limits, connections: 2 } })
  {
    using one = new Client(rig.http)
    using two = new Client(rig.http)
    for (const client of [one, two]) await client.send(connectTo(to)).read('\r\n\r\n')
    using third = new Client(rig.http)
    const { status, head, body } = await third.send(connectTo(to)).response()
    assert.equal(status, 429)
    assert.match(head, /retry-after: 1/i)
    assert.match(body, /credential u1: 2 connections are open/)
    one.socket.end()
    await one.rest()
  }
  await ended(() => rig.proxy.snapshot().open)
  rig.put({ limits: { ...limits, newPerSecond: 3 } })
  const statuses = []
  for (let i = 0; i < 4; i++) statuses.push(await open(rig.http, to))
  nowMs += 1_000
  statuses.push(await open(rig.http, to))
  assert.deepEqual(statuses, [200, 200, 200, 429, 200])

  rig.put({ limits: { ...limits, bytesPerSecond: 100_000 } })
  await using source = await serve((socket) => socket.end(Buffer.alloc(400_000)))
  using client = new Client(rig.http)
  let got = 0
  client.send(connectTo(`127.0.0.1:${source.port}`))
  client.socket.removeAllListeners('data').on('data', (data) => (got += data.length))
  await new Promise((resolve) => setTimeout(resolve, 700))
  assert.ok(got < 400_000, 'the clock stands still, and so does the stream')
  const ticking = setInterval(() => (nowMs += 1_000), 20)
  await client.rest()
  clearInterval(ticking)
  assert.ok(got > 400_000)
})

async function ended(open: () => number): Promise<void> {
  for (let i = 0; open() > 0 && i < 400; i++) await new Promise((r) => setTimeout(r, 25))
  assert.equal(open(), 0)
}
