import 'reflect-metadata'
import assert from 'node:assert/strict'
import type net from 'node:net'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import * as x509 from '@peculiar/x509'
import { Deadlines } from '../base/deadlines.ts'
import { fatal } from '../base/faults.ts'
import { type OutboundContext, Scratch } from './context.ts'
import { OutboundCounters } from './counters.ts'
import type { OutboundUser } from './directory.ts'
import { HALF_CLOSED_IDLE_MS } from './limits.ts'
import { Meter, meterMemory } from './meter.ts'
import { plainConnect } from './outbound-proxy.ts'
import { Transfer } from './request-log.ts'
import { Client, connectTo, record, serve, startRig } from './testing.ts'
import { Tunnel } from './tunnel.ts'
import { Upstream } from './upstream.ts'

const UPLOAD = 24 * 1024 * 1024
/** More than the kernel keeps for a peer that does not read. */
const BEYOND_BUFFERS = 64 * 1024 * 1024

const tunnelTo = async (port: number, proxy: number): Promise<Client> => {
  const client = new Client(proxy)
  client.send(connectTo(`127.0.0.1:${port}`))
  await client.read('\r\n\r\n')
  return client
}

test('a destination that has ended its side still gets all that the client sends', async () => {
  await using rig = await startRig()
  const { promise: got, resolve } = Promise.withResolvers<number>()
  await using origin = await serve((socket) => {
    let octets = 0
    socket.end()
    socket.pause()
    setTimeout(() => socket.resume(), 200)
    socket.on('data', (data) => (octets += data.length))
    socket.on('close', () => resolve(octets))
  })
  using client = await tunnelTo(origin.port, rig.http)
  client.socket.end(Buffer.alloc(UPLOAD))
  assert.equal(await got, UPLOAD)
  await eventually(() => rig.lines.length === 1)
  assert.deepEqual([rig.lines[0]!.bytesUp, rig.lines[0]!.result], [UPLOAD, 'ok'])
})

test('a client that has ended its side still gets all that the destination sends', async () => {
  await using rig = await startRig()
  await using origin = await serve((socket) => {
    socket.on('end', () => socket.end(Buffer.alloc(UPLOAD))).resume()
  })
  using client = await tunnelTo(origin.port, rig.http)
  client.socket.end()
  client.socket.pause()
  await delay(200)
  client.socket.resume()
  assert.equal((await client.rest()).length, UPLOAD)
})

test('a reset of one side is a reset of the other, not an end', async () => {
  await using rig = await startRig()
  const ends: Record<string, boolean> = {}
  let reset: net.Socket | null = null
  await using origin = await serve((socket) => {
    reset = socket
    socket.on('end', () => (ends.end = true)).resume()
    socket.on('error', (error: NodeJS.ErrnoException) => (ends[error.code ?? ''] = true))
  })
  using client = await tunnelTo(origin.port, rig.http)
  client.send('half of someth')
  await eventually(() => rig.proxy.snapshot().open === 1 && reset !== null)
  client.socket.resetAndDestroy()
  await eventually(() => ends.ECONNRESET === true || ends.end === true)
  assert.deepEqual(ends, { ECONNRESET: true })

  using other = await tunnelTo(origin.port, rig.http)
  const seen: string[] = []
  other.socket.on('end', () => seen.push('end'))
  other.socket.on('error', (error: NodeJS.ErrnoException) => seen.push(error.code ?? ''))
  reset!.resetAndDestroy()
  await eventually(() => seen.length > 0)
  assert.deepEqual(seen, ['ECONNRESET'])
})

test('a proxy that is destroyed ends its connections, those of a former credential too', async () => {
  await using rig = await startRig()
  const broken = new Set<net.Socket>()
  await using origin = await serve((socket) => {
    socket.pipe(socket).on('error', () => broken.add(socket))
  })
  using former = await tunnelTo(origin.port, rig.http)
  rig.put({ credentials: [{ ...record().credentials[0]!, name: 'u2' }] })
  assert.equal(await former.send('ping').read('ping'), 'ping', 'a rotation ends none')
  const seen: (string | undefined)[] = []
  former.socket.on('error', (error: NodeJS.ErrnoException) => seen.push(error.code))
  rig.directory.delete('p1')
  await eventually(() => seen.length > 0 && broken.size > 0)
  assert.deepEqual(seen, ['ECONNRESET'])
})

test('over TLS too: ends are ends, and what breaks off ends nothing but itself', async () => {
  await using rig = await startRig({ tls: await selfSigned() })
  await using origin = await serve((socket) => {
    socket.on('end', () => socket.end('bye')).on('data', () => socket.resetAndDestroy())
  })
  const client = async () => {
    const options = { port: rig.https, host: '127.0.0.1', rejectUnauthorized: false }
    const opened = new Client(tls.connect(options))
    opened.send(connectTo(`127.0.0.1:${origin.port}`))
    await opened.read('\r\n\r\n')
    return opened
  }
  using ends = await client()
  ends.socket.end()
  assert.equal(await ends.rest(), 'bye')
  using breaks = await client()
  breaks.send('x')
  assert.equal(await breaks.rest(), '')
  using after = await client()
  after.socket.end()
  assert.equal(await after.rest(), 'bye')
})

test('a peer that never reads holds its connection no longer than a half-closed tunnel may be idle', async () => {
  let nowMs = 0
  const deadlines = new Deadlines(() => nowMs)
  const meter = new Meter(meterMemory(1), 1, 0, () => nowMs)
  const ctx = {
    ...{ deadlines, meter, connect: plainConnect, now: () => nowMs, onLine() {} },
    ...{ counters: new OutboundCounters(), scratch: new Scratch(new OutboundCounters(), fatal) },
  } as unknown as OutboundContext
  const user = { slot: 1, name: 'u1', served: { limits: record().limits } } as OutboundUser
  await using far = await serve((socket) => socket.on('end', () => socket.end()).resume())
  const { promise: accepted, resolve } = Promise.withResolvers<net.Socket>()
  await using near = await serve(resolve)
  using peer = new Client(near.port)
  peer.socket.pause()
  const client = await accepted
  const upstream = await new Promise<Upstream>((connected) => {
    const to = { address: '127.0.0.1', family: 4, port: far.port } as const
    const opened: Upstream = new Upstream(ctx, to, null, () => connected(opened))
  })
  meter.enter(user)
  upstream.release = () => meter.leave(user)
  const tunnel = new Tunnel(ctx, client, upstream, user, new Transfer(ctx, 'connect', ''))
  client.on('close', (failed) => tunnel.onClientClose(failed))

  client.write(Buffer.alloc(BEYOND_BUFFERS))
  tunnel.onClientEnd()
  await eventually(() => upstream.socket.closed)
  nowMs = HALF_CLOSED_IDLE_MS - 1
  deadlines.sweep()
  assert.deepEqual([client.destroyed, meter.open(1)], [false, 1], 'it may still read')
  nowMs = HALF_CLOSED_IDLE_MS
  deadlines.sweep()
  await eventually(() => client.closed && meter.open(1) === 0)
})

async function selfSigned(): Promise<{ cert: string; key: string }> {
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ])
  const made = await x509.X509CertificateGenerator.createSelfSigned({ name: 'CN=proxy', keys })
  const der = await crypto.subtle.exportKey('pkcs8', keys.privateKey)
  return { cert: made.toString('pem'), key: x509.PemConverter.encode(der, 'PRIVATE KEY') }
}

async function eventually(is: () => boolean): Promise<void> {
  for (const until = Date.now() + 10_000; !is(); await delay(5))
    assert.ok(Date.now() < until, 'not within 10 s')
}
