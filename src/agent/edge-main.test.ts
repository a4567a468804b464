import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import type { EdgeLine, FeedLine } from '../model/wire.ts'
import { testEntries } from '../proxy/testing.ts'
import { openReplica } from './replica.ts'

const dir = mkdtempSync(join(tmpdir(), 'edge-main-'))
/** What the holder keeps: a socket that listens, outlives every edge, and accepts nothing itself. */
const listener = openListener()
let release: (() => void) | null = null
const origin = http.createServer((request, response) => {
  if (request.url === '/slow') release = () => response.end('slow')
  else response.end(`from ${request.headers['fly-region']}`)
})
let agent: net.Server
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

function openListener(): { fd: number; port: number } {
  const ffi = process.getBuiltinModule('node:ffi')!
  const { functions: libc } = ffi.dlopen('libc.so.6', {
    socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
    bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
    listen: { arguments: ['i32', 'i32'], return: 'i32' },
    getsockname: { arguments: ['i32', 'pointer', 'pointer'], return: 'i32' },
  })
  const address = Buffer.alloc(16)
  address.writeUInt16LE(2) // AF_INET
  address.set([127, 0, 0, 1], 4)
  const length = Buffer.from([16, 0, 0, 0])
  const fd = libc.socket(2, 1, 0)
  const pointer = ffi.getRawPointer(address)
  assert.equal(libc.bind(fd, pointer, 16) | libc.listen(fd, 128), 0)
  assert.equal(libc.getsockname(fd, pointer, ffi.getRawPointer(length)), 0)
  return { fd, port: address.readUInt16BE(2) }
}

/** An app at the listener's own address and port, as a transparent socket would show it. */
function snapshot(revision: number): FeedLine[] {
  const service = { port: listener.port, internalPort: portOf(origin) }
  const app = { name: 'hello', addresses: ['127.0.0.1'] }
  const entries = testEntries([{ ...app, machines: [{ id: 'm1', services: [service] }] }])
  const events = entries.map(([key, value]) => ['put', key, value, revision] as const)
  return [{ t: 'snapshot' }, { t: 'events', revision, events }, { t: 'synced', revision }]
}

function startEdge(): ChildProcess {
  const config = {
    ...{ host: 'iad1', region: 'iad', index: 1, replica: join(dir, 'replica.db') },
    ...{ feedSocket: join(dir, 'feed.sock'), listenFds: [4], appsDomains: ['fairway.test'] },
    ...{ meshAddress: 'fdaa:0:0:fff::1', backhaulPort: 4290, workers: 1, drainMs: 5_000 },
    metricsSocket: join(dir, 'metrics.sock'),
  }
  const path = join(dir, 'edge.json')
  writeFileSync(path, JSON.stringify(config))
  const main = join(import.meta.dirname, 'edge-main.ts')
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, path], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', listener.fd],
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

async function until(what: () => boolean): Promise<void> {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('an edge serves its replica, follows its agent and hands over', {
  timeout: 20_000,
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

async function metrics(): Promise<string> {
  const request = http.get({ socketPath: join(dir, 'metrics.sock'), path: '/metrics' })
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const part of response) text += String(part)
  return text
}
