import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fs, { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { pino } from 'pino'
import { writeFeed } from '../api/feed.ts'
import { systemClock } from '../base/clock.ts'
import { encodeLine } from '../base/ndjson.ts'
import {
  type Ca,
  type Credentials,
  hostOfCertificate,
  issueHostCertificate,
  issueServerCertificate,
  loadOrCreateCa,
} from '../control/ca.ts'
import type { AgentCall, FeedLine } from '../model/wire.ts'
import { openSqliteStore, type SqliteStore } from '../store/sqlite/sqlite-store.ts'
import { EdgeIndex } from '../view/edge-index.ts'
import { ControlClient } from './control-client.ts'
import { followControl } from './control-link.ts'
import { type FeedSocketServer, followFeedSocket, serveFeedSocket } from './feed-socket.ts'
import { FeedState } from './feed-state.ts'

const log = pino({ level: 'silent' })
const PREFIXES = ['region/', 'app/', 'machine/iad1/']

let directory: string
let ca: Ca
let serverTls: Credentials
let hostTls: Credentials

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'link-'))
  ca = await loadOrCreateCa(directory)
  serverTls = await issueServerCertificate(ca, ['control.test', '127.0.0.1'])
  hostTls = await issueHostCertificate(ca, 'iad1')
})
after(() => rmSync(directory, { recursive: true }))

type Handler = (request: IncomingMessage, response: ServerResponse) => void

let store: SqliteStore
let server: Server
let handler: Handler
let client: ControlClient
let abort: AbortController
let files = 0
let changed = Promise.withResolvers<void>()
const seenFrom: number[] = []

const signalChange = () => {
  changed.resolve()
  changed = Promise.withResolvers()
}
const until = async (done: () => boolean): Promise<void> => {
  while (!done()) await changed.promise
}

/** The control plane's side of the feed, as the agents' server has it. */
const serveWatch: Handler = (request, response) => {
  const from = Number(new URL(request.url!, 'https://x').searchParams.get('from'))
  seenFrom.push(from)
  const names = (request.socket as TLSSocket).getPeerCertificate().subjectaltname
  assert.equal(hostOfCertificate(names), 'iad1')
  response.writeHead(200).flushHeaders()
  const options = { prefixes: PREFIXES, after: from, pingMs: 20 }
  writeFeed(store, options, response, abort.signal).catch(() => response.destroy())
}

async function listen(port = 0): Promise<Server> {
  const made = createServer(
    { ...serverTls, ca: ca.certificate, requestCert: true, minVersion: 'TLSv1.3' },
    (request, response) => handler(request, response),
  )
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  made.once('error', reject).listen(port, '127.0.0.1', resolve)
  await promise
  return made
}

const stop = async (target: Server): Promise<void> => {
  const closed = new Promise((resolve) => target.close(resolve))
  target.closeAllConnections()
  await closed
}

const portOf = (target: Server): number => (target.address() as AddressInfo).port
const clientOf = (urls: string[], tls = hostTls, more = {}): ControlClient =>
  new ControlClient({ urls, tls: { ca: ca.certificate, cert: tls.cert, key: tls.key }, ...more })

beforeEach(async () => {
  store = await openSqliteStore(join(directory, `store${files++}.db`), { retainRevisions: 5 })
  abort = new AbortController()
  seenFrom.length = 0
  handler = serveWatch
  server = await listen()
  client = clientOf([`https://127.0.0.1:${portOf(server)}`])
})
afterEach(async () => {
  abort.abort()
  client.close()
  await stop(server)
  await store.close()
})

const app = (name: string) => ({
  ...{ id: name, numericId: 1, name, org: 'personal', network: 'default', networkId: 1 },
  ...{ sharedV4: null, status: 'deployed', createdAt: '' },
})
const setApp = async (name: string): Promise<number> => {
  const ops = [{ put: `app/${name}`, value: JSON.stringify(app(name)) }]
  return (await store.txn({ then: ops })).revision
}

function follow(
  onLine: (line: FeedLine) => void,
  more: {
    silenceMsMax?: number
    onCall?: (call: AgentCall, signal: AbortSignal) => AsyncIterable<unknown>
  } = {},
): void {
  const { silenceMsMax, onCall } = more
  const deps = { client, clock: systemClock, random: () => 0, log, silenceMsMax }
  const take = (line: FeedLine) => {
    onLine(line)
    signalChange()
  }
  void followControl(deps, { after: 0, onLine: take, onCall, signal: abort.signal })
}

/** Control plane -> agent's state -> unix socket -> edge's index. */
async function hostWithEdge(): Promise<{ index: EdgeIndex; socket: FeedSocketServer }> {
  const state = new FeedState()
  const path = join(directory, 'feed.sock')
  follow((line) => state.apply(line))
  const events = { line: () => {}, closed: () => {} }
  const socket = await serveFeedSocket(path, state, { log, events })
  const index = new EdgeIndex()
  const onLine = (line: FeedLine) => {
    index.apply(line)
    signalChange()
  }
  followFeedSocket(path, { after: 0, onLine, signal: abort.signal })
  return { index, socket }
}

test('a change in the store is in the edge, also after cuts, restarts and compaction', async () => {
  await setApp('first')
  const { index, socket } = await hostWithEdge()
  await until(() => index.app('first') !== undefined)
  const second = await setApp('second')
  await until(() => index.app('second') !== undefined)
  await until(() => index.revision === second)

  server.closeAllConnections()
  await setApp('third')
  await until(() => index.app('third') !== undefined)
  assert.deepEqual(seenFrom, [0, second], 'it resumed')

  const port = portOf(server)
  await stop(server)
  for (let i = 0; i < 30; i++) await setApp(`late${i}`)
  await store.txn({ then: [{ delete: 'app/first' }] })
  assert.ok(index.app('first'), 'the edge goes on with what it has')
  server = await listen(port)
  await until(() => index.app('late29') !== undefined && index.app('first') === undefined)
  await socket.close()
})

test('a feed cut within a snapshot is not completed by the next', async () => {
  for (let i = 0; i < 3; i++) await setApp(`a${i}`)
  handler = (_, response) => {
    response.writeHead(200)
    response.write(encodeLine({ t: 'snapshot' }))
    response.write(encodeLine({ t: 'events', revision: 3, events: [] }))
    setTimeout(() => response.destroy(), 5)
    handler = serveWatch
  }
  const index = new EdgeIndex()
  follow((line) => index.apply(line))
  await until(() => index.revision > 0)
  assert.deepEqual(seenFrom, [0])
  assert.ok(index.app('a0') && index.app('a2'))
})

test('a feed that says nothing is left', async () => {
  handler = (_, response) => {
    response.writeHead(200).flushHeaders()
    handler = serveWatch
  }
  await setApp('a')
  const index = new EdgeIndex()
  follow((line) => index.apply(line), { silenceMsMax: 100 })
  await until(() => index.app('a') !== undefined)
})

test('the next address is tried when one does not answer', async () => {
  await setApp('a')
  const dead = await listen()
  const port = portOf(dead)
  await stop(dead)
  client = clientOf([`https://127.0.0.1:${port}`, `https://127.0.0.1:${portOf(server)}`])
  const index = new EdgeIndex()
  follow((line) => index.apply(line))
  await until(() => index.app('a') !== undefined)
})

test('a server that the CA does not know is not spoken to', async () => {
  const other = mkdtempSync(join(tmpdir(), 'link-ca-'))
  const foreign = await loadOrCreateCa(other)
  rmSync(other, { recursive: true })
  const url = `https://127.0.0.1:${portOf(server)}`
  const stranger = new ControlClient({ urls: [url], tls: { ...hostTls, ca: foreign.certificate } })
  await assert.rejects(stranger.launch('m'), { code: 'control_unreachable' })
  stranger.close()
})

const EGRESS = { egressRevision: null, egressDrained: [] }

test('the name in the certificate may differ from the one in the URL', async () => {
  const tls = { ca: ca.certificate, cert: hostTls.cert, key: hostTls.key }
  const urls = [`https://127.0.0.1:${portOf(server)}`]
  handler = (_, response) => response.end('{}')
  const report = { host: 'iad1', meshPublicKey: '', edgeRevision: null, machines: [], ...EGRESS }
  const named = new ControlClient({ urls, tls: { ...tls, serverName: 'control.test' } })
  await named.report(report)
  const misnamed = new ControlClient({ urls, tls: { ...tls, serverName: 'other.test' } })
  await assert.rejects(misnamed.report(report), { code: 'control_unreachable' })
  named.close()
  misnamed.close()
})

test('launch: the specification, or the control plane’s own error', async () => {
  const spec = { machine: 'm', instanceId: 'i', secrets: { KEY: 'v' }, artifact: 'aa' }
  handler = (request, response) => {
    assert.equal(request.url, '/agent/v1/launch/m?instance=i')
    response.end(JSON.stringify(spec))
  }
  assert.deepEqual(await client.launch('m', 'i'), spec)
  handler = (_, response) =>
    response.writeHead(409).end('{"error":"by now at j","code":"conflict"}')
  await assert.rejects(client.launch('m', 'i'), { code: 'conflict', status: 409 })
  handler = (_, response) => response.end('{"machine":1}')
  await assert.rejects(client.launch('m'), { code: 'bad_reply' })
  handler = () => {}
  const url = `https://127.0.0.1:${portOf(server)}`
  const hasty = clientOf([url], hostTls, { requestMsMax: 20 })
  await assert.rejects(hasty.launch('m'), { code: 'control_unreachable' })
  hasty.close()
})

test('artifacts: whole and verified, or not there', async (t) => {
  const synced = t.mock.method(fs, 'fsync')
  const bytes = Buffer.alloc(300_000, 7)
  const hex = createHash('sha256').update(bytes).digest('hex')
  const file = join(directory, 'artifact.tar.gz')
  const url = `https://127.0.0.1:${portOf(server)}`
  handler = (_, response) => response.end(bytes)
  await client.artifact(`sha256:${hex}`, file)
  assert.deepEqual(readFileSync(file), bytes)
  assert.equal(synced.mock.callCount(), 1, 'on the disk before it has its name')
  assert.equal(statSync(file).mode & 0o777, 0o600)
  rmSync(file)
  const refused = async (code: string, from = client) => {
    await assert.rejects(from.artifact(hex, file), { code })
    assert.ok(!existsSync(file) && !existsSync(`${file}.part`))
  }
  handler = (_, response) => response.end(bytes.subarray(1))
  await refused('artifact_damaged')
  handler = (_, response) => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.write(bytes.subarray(0, 1_000), () => response.destroy())
  }
  await refused('control_unreachable')
  handler = (_, response) => response.writeHead(404).end('{"error":"no such","code":"not_found"}')
  await refused('not_found')
  handler = (_, response) => response.end(bytes)
  const small = clientOf([url], hostTls, { artifactBytesMax: 1_000 })
  await refused('artifact_too_large', small)
  small.close()
  await assert.rejects(client.artifact('../x', file), { code: 'invalid' })
})

test('calls are answered beside the feed, until the control plane has enough', async () => {
  let answers = ''
  let enough: ServerResponse | undefined
  handler = (request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200)
      const ps: AgentCall = { method: 'ps', machine: 'm' }
      const logs: AgentCall = { method: 'logs', app: 'a', tail: 1, follow: true }
      response.write(encodeLine({ t: 'call', id: 'one', call: ps }))
      response.write(encodeLine({ t: 'call', id: 'two', call: logs }))
      return
    }
    if (request.url!.endsWith('two')) enough = response
    request.on('data', (chunk) => {
      answers += `${request.url!.split('/').at(-1)} ${chunk}`
      signalChange()
    })
    request.on('end', () => response.end('{}'))
  }
  let isOver = false
  async function* answer(call: AgentCall, signal: AbortSignal): AsyncGenerator<unknown> {
    yield { answer: call.method }
    if (call.method === 'ps') return
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    isOver = true
    signalChange()
  }
  follow(() => {}, { onCall: answer, silenceMsMax: 60_000 })
  await until(() => answers.includes('one {"answer":"ps"}\n') && answers.includes('two {'))
  enough!.end('{}')
  await until(() => isOver)
})
