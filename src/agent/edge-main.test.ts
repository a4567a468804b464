import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import type { EdgeLine, FeedLine } from '../model/wire.ts'
import { QUEUE_MS } from '../proxy/limits.ts'
import { type TestService, testEntries } from '../proxy/testing.ts'
import { openReplica } from './replica.ts'

/** A processor that is held up makes the edge slow, not wrong. */
const PATIENCE_MS = 60_000
const dir = mkdtempSync(join(tmpdir(), 'edge-main-'))
/** What the holder keeps: a socket that listens, outlives every edge, and accepts nothing itself. */
const listener = openListener()
let release: (() => void) | null = null
let held: (() => void)[] = []
const origin = http.createServer((request, response) => {
  if (request.url === '/slow') release = () => response.end('slow')
  else if (request.url === '/hold') held.push(() => response.end('held'))
  else response.end(`from ${request.headers['fly-region']}`)
})
let agent: net.Server
const followers = new Set<net.Socket>()
const heard: EdgeLine[] = []
const edges: ChildProcess[] = []
const portOf = (server: net.Server) => (server.address() as net.AddressInfo).port

before(async () => {
  origin.listen(0, '127.0.0.1')
  await once(origin, 'listening')
  const replica = openReplica(join(dir, 'replica.db'))
  for (const line of snapshot(7)) replica.apply(line)
  replica.close()
})

after(() => {
  for (const edge of edges) edge.kill('SIGKILL')
  for (const server of [origin, agent]) server.close()
  closeSync(listener.fd)
  origin.closeAllConnections()
  rmSync(dir, { recursive: true })
})

/** Several may listen on one port: the kernel deals connections out among them. */
function openListener(onPort = 0): { fd: number; port: number } {
  const ffi = process.getBuiltinModule('node:ffi')!
  const { functions: libc } = ffi.dlopen('libc.so.6', {
    socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
    setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
    bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
    listen: { arguments: ['i32', 'i32'], return: 'i32' },
    getsockname: { arguments: ['i32', 'pointer', 'pointer'], return: 'i32' },
  })
  const address = Buffer.alloc(16)
  address.writeUInt16LE(2) // AF_INET
  address.writeUInt16BE(onPort, 2)
  address.set([127, 0, 0, 1], 4)
  const length = Buffer.from([16, 0, 0, 0])
  const fd = libc.socket(2, 1, 0)
  const pointer = ffi.getRawPointer(address)
  const one = ffi.getRawPointer(Buffer.from([1, 0, 0, 0]))
  assert.equal(libc.setsockopt(fd, 1, 15, one, 4), 0) // SOL_SOCKET, SO_REUSEPORT
  assert.equal(libc.bind(fd, pointer, 16) | libc.listen(fd, 128), 0)
  assert.equal(libc.getsockname(fd, pointer, ffi.getRawPointer(length)), 0)
  return { fd, port: address.readUInt16BE(2) }
}

/** An app at the listener's own address and port, as a transparent socket would show it. */
function snapshot(revision: number, limits: Partial<TestService> = {}): FeedLine[] {
  const service = { port: listener.port, internalPort: portOf(origin), ...limits }
  const app = { name: 'hello', addresses: ['127.0.0.1'] }
  const entries = testEntries([{ ...app, machines: [{ id: 'm1', services: [service] }] }])
  const events = entries.map(([key, value]) => ['put', key, value, revision] as const)
  return [{ t: 'snapshot' }, { t: 'events', revision, events }, { t: 'synced', revision }]
}

function startEdge(fds = [listener.fd], more: object = {}): ChildProcess {
  const config = {
    ...{ host: 'iad1', region: 'iad', index: 1, replica: join(dir, 'replica.db') },
    ...{
      feedSocket: join(dir, 'feed.sock'),
      listenFds: fds.map((_, i) => 4 + i),
      appsDomains: ['fairway.test'],
    },
    ...{ meshAddress: 'fdaa:0:0:fff::1', backhaulPort: 4290, workers: fds.length, drainMs: 5_000 },
    metricsSocket: join(dir, 'metrics.sock'),
    ...more,
  }
  const path = join(dir, 'edge.json')
  writeFileSync(path, JSON.stringify(config))
  const main = join(import.meta.dirname, 'edge-main.ts')
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, path], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...fds],
  })
  edges.push(child)
  return child
}

function said(edge: ChildProcess, what: string): Promise<void> {
  return new Promise((resolve) => {
    edge.on('message', (message: { t: string }) => message.t === what && resolve())
  })
}

async function get(path: string, agent?: http.Agent): Promise<string> {
  const request = http.get({ port: listener.port, host: '127.0.0.1', path, agent: agent ?? false })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  response.setEncoding('utf8')
  let text = ''
  for await (const part of response) text += part
  return text
}

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS
  while (!(await what())) {
    assert.ok(performance.now() < endMs, `in vain: ${what}`)
    await setTimeout(5)
  }
}

test('an edge serves its replica, follows its agent and hands over', {
  timeout: 180_000,
}, async () => {
  const first = startEdge()
  await said(first, 'ready')
  assert.equal(await get('/'), 'from iad', 'without an agent')
  await said(first, 'alive')

  agent = net.createServer((socket) => {
    const lines = new LineSplitter(1e6)
    socket.on('data', (chunk: Buffer) => {
      for (const text of lines.push(chunk)) heard.push(JSON.parse(text) as EdgeLine)
    })
    followers.add(socket)
    socket.on('error', () => {}).on('close', () => followers.delete(socket))
    for (const line of snapshot(9)) socket.write(encodeLine(line))
  })
  agent.listen(join(dir, 'feed.sock'))
  await until(() => heard.some((line) => line.t === 'applied' && line.revision === 9))
  assert.ok(heard.some((line) => line.t === 'hello'))

  // A request is in flight when the edge is replaced.
  const slow = get('/slow', new http.Agent({ keepAlive: true }))
  await until(() => release !== null)
  const second = startEdge()
  await said(second, 'ready')
  first.kill('SIGTERM')
  for (let i = 0; i < 20; i++) assert.equal(await get('/'), 'from iad')
  assert.equal(first.exitCode, null, 'the old edge still has a request')
  release!()
  assert.equal(await slow, 'slow')
  const [code] = await once(first, 'exit')
  assert.equal(code, 0)
  assert.equal(await get('/'), 'from iad')
  assert.match(await metrics(), /fairway_edge_requests_total\{status="2xx"\} \d+/)
})

test('two workers keep one hard limit, serve in turn and tell the load', {
  timeout: 180_000,
}, async () => {
  const [hard, requests] = [3, 24]
  const other = openListener(listener.port)
  for (const edge of edges) {
    if (edge.exitCode !== null) continue
    edge.kill('SIGTERM')
    await once(edge, 'exit')
  }
  heard.length = 0
  const edge = startEdge([listener.fd, other.fd])
  await said(edge, 'ready')
  await until(() => followers.size === 1)
  const lines = snapshot(10, { soft: 2, hard }).slice(1)
  for (const follower of followers) for (const line of lines) follower.write(encodeLine(line))
  await until(() => heard.some((line) => line.t === 'applied' && line.revision === 10))

  const loads = () => heard.flatMap((line) => (line.t === 'load' ? [line] : []))
  let answered = 0
  const ask = async () => {
    const began = performance.now()
    const text = await get('/hold')
    answered++
    // On a machine that is held up, a turn may come too late: only then is one turned away.
    assert.ok(text === 'held' || performance.now() - began >= QUEUE_MS, text)
    return text
  }
  const all = Promise.all(Array.from({ length: requests }, ask))
  await until(() => held.length === hard && loads().some(({ load }) => load === 2))
  await until(async () => /requests_queued [1-9]/.test(await metrics()))
  while (answered < requests) {
    await until(() => held.length > 0 || answered === requests)
    assert.ok(held.length <= hard)
    held.shift()?.()
    await setTimeout(1)
  }
  assert.ok((await all).filter((text) => text === 'held').length > hard, 'those who waited')
  held = []
  await until(() => loads().at(-1)?.load === 0)
  assert.deepEqual(
    new Set(loads().map(({ machine, service }) => `${machine} ${service}`)),
    new Set(['m1 0']),
  )
  assert.ok(loads().length <= 8, JSON.stringify(loads()))
  closeSync(other.fd)
})

test('what is asked for is written down and exported, and the last of it when the edge ends', {
  timeout: 180_000,
}, async () => {
  for (const edge of edges) {
    if (edge.exitCode !== null) continue
    edge.kill('SIGTERM')
    await once(edge, 'exit')
  }
  const spans: { traceId: string; attributes: unknown[] }[] = []
  const receiver = http.createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += String(part)
    assert.equal(request.headers.authorization, 'Bearer t0ken')
    spans.push(...JSON.parse(text).resourceSpans[0].scopeSpans[0].spans)
    response.end('{}')
  })
  receiver.listen(0, '127.0.0.1')
  await once(receiver, 'listening')
  const [headersFile, accessLog] = [join(dir, 'headers.json'), join(dir, 'log', 'access.log')]
  writeFileSync(headersFile, '{"authorization":"Bearer t0ken"}', { mode: 0o600 })
  const endpoint = `http://127.0.0.1:${portOf(receiver)}`
  const edge = startEdge([listener.fd], {
    accessLog: { path: accessLog, sampleRate: 1 },
    traces: { endpoint, headersFile, sampleRate: 1 },
  })
  await said(edge, 'ready')
  assert.equal(await get('/first'), 'from iad')
  await until(() => spans.length === 1)
  const lines = () => (existsSync(accessLog) ? readFileSync(accessLog, 'utf8').split('\n') : [])
  await until(() => lines().length === 2)
  const [first] = lines().map((line) => (line === '' ? null : JSON.parse(line)))
  assert.deepEqual([first.path, first.status, first.trace_id], ['/first', 200, spans[0]!.traceId])
  const text = await metrics()
  assert.match(text, /^fairway_edge_spans_exported_total 1$/m)
  assert.match(text, /^fly_edge_http_responses_count\{app="hello",.*status="200"\} 1$/m)
  assert.match(text, /^fly_app_concurrency\{app="hello",.*instance="m1"\} 0$/m)
  const question = `/explain?address=127.0.0.1&port=${listener.port}&host=hello.fairway.test`
  const { outcome, chosen } = JSON.parse(await metrics(question))
  assert.deepEqual([outcome, chosen.machine], ['forward', 'm1'])
  assert.equal(statSync(join(dir, 'metrics.sock')).mode & 0o777, 0o600)
  await get('/last')
  edge.kill('SIGTERM')
  await once(edge, 'exit')
  assert.deepEqual([lines().length, spans.length], [3, 2])
  receiver.close()
})

test('an edge whose file of header fields others may read serves, and exports nothing', {
  timeout: 60_000,
}, async () => {
  const headersFile = join(dir, 'open.json')
  writeFileSync(headersFile, '{}', { mode: 0o644 })
  const traces = { endpoint: 'http://127.0.0.1:1', headersFile, sampleRate: 1 }
  await said(startEdge([listener.fd], { traces }), 'ready')
  assert.equal(await get('/'), 'from iad')
  assert.doesNotMatch(await metrics(), /fairway_edge_spans/)
})

async function metrics(path = '/metrics'): Promise<string> {
  const request = http.get({ socketPath: join(dir, 'metrics.sock'), path })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const part of response) text += String(part)
  return text
}
