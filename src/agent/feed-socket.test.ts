import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { pino } from 'pino'
import type { EdgeLine, FeedEvent, FeedLine, LogLine } from '../model/wire.ts'
import { type FeedSocketServer, followFeedSocket, serveFeedSocket } from './feed-socket.ts'
import { OUTBOX_LOGS_MAX } from './feed-socket-client.ts'
import { FeedState } from './feed-state.ts'

const log = pino({ level: 'silent' })
let directory: string
let path: string
let state: FeedState
let server: FeedSocketServer
let abort: AbortController
let received: EdgeLine[]
/** Followers that the last server has lost. */
let lost: { count: number }
let changed = Promise.withResolvers<void>()

const signalChange = () => {
  changed.resolve()
  changed = Promise.withResolvers()
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'socket-'))
  path = join(directory, 'feed.sock')
  abort = new AbortController()
  state = new FeedState()
  received = []
  server = await serve()
})
afterEach(async () => {
  abort.abort()
  await server.close()
  rmSync(directory, { recursive: true })
})

function serve(stallMsMax?: number): Promise<FeedSocketServer> {
  const mine = { count: 0 }
  lost = mine
  return serveFeedSocket(path, state, {
    log,
    stallMsMax,
    events: {
      line: (_, line) => {
        received.push(line)
        signalChange()
      },
      closed: () => {
        mine.count += 1
        signalChange()
      },
    },
  })
}

const until = async (done: () => boolean): Promise<void> => {
  while (!done()) await changed.promise
}

const put = (key: string, value: unknown): FeedEvent => ['put', key, value, 1]
function load(revision: number, ...list: FeedEvent[]): void {
  state.apply({ t: 'snapshot' })
  state.apply({ t: 'events', revision, events: list })
  state.apply({ t: 'synced', revision })
}

let connected = false

function follow(): { lines: FeedLine[]; send(line: EdgeLine): void } {
  const lines: FeedLine[] = []
  const { send } = followFeedSocket(path, {
    after: 0,
    onConnected: (now) => {
      connected = now
      signalChange()
    },
    retryMsMax: 20,
    signal: abort.signal,
    onLine: (line) => {
      lines.push(line)
      signalChange()
    },
  })
  return { lines, send }
}

const logLine = (message: string): EdgeLine => ({
  t: 'log',
  line: {
    ...{ timestamp: '', app: 'a', machine: '', region: '', host: '', level: 'info' },
    ...{ source: 'proxy', message },
  } as LogLine,
})

test('the state and its changes arrive; only the own user may connect', async () => {
  assert.equal(statSync(path).mode & 0o777, 0o600)
  load(3, put('app/a', 1))
  const { lines } = follow()
  await until(() => lines.some((line) => line.t === 'synced'))
  state.apply({ t: 'events', revision: 4, events: [put('app/b', 1)] })
  await until(() => lines.some((line) => line.t === 'events' && line.revision === 4))
})

test('what the edge tells arrives, and again at an agent that is new', async () => {
  load(3)
  const { lines, send } = follow()
  send({ t: 'hello', pid: 7 })
  send({ t: 'applied', revision: 3 })
  send({ t: 'load', machine: 'm', service: 0, load: 2 })
  send({ t: 'load', machine: 'm', service: 0, load: 1 })
  send(logLine('kept while the agent is away'))
  const isSynced = () => lines.some((line) => line.t === 'synced')
  await until(() => isSynced() && received.some((line) => line.t === 'log'))
  assert.deepEqual(
    received.map((line) => line.t),
    ['hello', 'applied', 'load', 'log'],
  )
  received = []
  lines.length = 0
  await server.close()
  await until(() => lost.count === 1 && !connected)
  send(logLine('while away'))
  server = await serve()
  await until(() => received.some((line) => line.t === 'log') && lines.length > 0)
  assert.deepEqual(received, [
    { t: 'hello', pid: 7 },
    { t: 'applied', revision: 3 },
    { t: 'load', machine: 'm', service: 0, load: 1 },
    logLine('while away'),
  ])
  assert.equal(lines[0]?.t, 'synced', 'it resumed, and got no snapshot')
})

test('log lines for an agent that is away are kept up to a limit, the newest', async () => {
  await server.close()
  const { send } = follow()
  for (let i = 0; i < OUTBOX_LOGS_MAX + 50; i++) send(logLine(String(i)))
  server = await serve()
  await until(() => received.length === OUTBOX_LOGS_MAX)
  assert.deepEqual(received[0], logLine('50'))
})

test('a follower that reads nothing is cut off; the others are not', async () => {
  await server.close()
  // Long enough that a follower that does read is never mistaken, however busy the machine.
  server = await serve(1_000)
  const text = 'x'.repeat(100_000)
  load(3, ...Array.from({ length: 50 }, (_, i) => put(`app/${i}`, text)))
  const stuck = createConnection(path)
  stuck.on('error', () => {})
  stuck.pause()
  stuck.write('{"t":"follow","after":0}\n')
  const { lines } = follow()
  await until(() => lines.some((line) => line.t === 'synced'))
  await until(() => lost.count > 0)
  assert.equal(lost.count, 1)
  stuck.destroy()
})

test('who does not speak the language is cut off', async () => {
  for (const text of ['no json\n', '{"t":"follow"}\n', '{"t":"follow","after":0}\n{"t":"x"}\n']) {
    const socket = createConnection(path)
    const end = Promise.withResolvers<void>()
    socket.on('error', () => {}).on('close', () => end.resolve())
    socket.resume().write(text)
    await end.promise
  }
  assert.deepEqual(received, [])
})

test('a socket that a crash left behind is replaced', async () => {
  await server.close()
  writeFileSync(path, '')
  server = await serve()
  load(1)
  const { lines } = follow()
  await until(() => lines.some((line) => line.t === 'synced'))
})
