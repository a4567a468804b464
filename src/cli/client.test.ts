import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Client } from './client.ts'
import { resolveEndpoint } from './endpoint.ts'
import type { Io } from './io.ts'
import { FakeApi, Reply, steppingClock, TOKEN } from './testing.ts'

const ioWith = (signal = new AbortController().signal): Io => ({
  stdout: { write: () => true },
  stderr: { write: () => true },
  stdin: (async function* () {})(),
  interactive: false,
  colour: false,
  env: {},
  cwd: '/',
  clock: steppingClock(),
  random: () => 0.5,
  signal,
})

const clientOf = (url: string, signal?: AbortSignal) =>
  new Client(
    {
      graphql: url,
      machines: url,
      uiex: url,
      token: TOKEN,
      tokenSource: 'test',
      appsPort: undefined,
    },
    ioWith(signal),
  )

async function withApi<T>(work: (api: FakeApi, client: Client) => Promise<T>): Promise<T> {
  const api = await new FakeApi().listen()
  try {
    return await work(api, clientOf(api.url))
  } finally {
    await api.close()
  }
}

test('502 and 503 are tried again where that is harmless', async () => {
  await withApi(async (api, client) => {
    let count = 0
    const route = () => (++count < 3 ? new Reply(503, { error: 'later' }) : { ok: true })
    api.on('(?:GET|POST) /v1/x', route)
    assert.deepEqual(await client.get('/v1/x'), { ok: true })
    assert.equal(count, 3)
    count = 0
    await assert.rejects(client.post('/v1/x', {}), /later/)
    assert.equal(count, 1)
    count = -10
    await assert.rejects(client.get('/v1/x'), /later/)
    assert.equal(count, -6)
  })
})

test('errors carry what the API said', async () => {
  await withApi(async (api, client) => {
    api.on(
      'GET /v1/message',
      () => new Reply(422, { error: 'short', message: 'long', status: 'name_taken' }),
    )
    await assert.rejects(client.get('/v1/message'), {
      message: 'long',
      status: 422,
      code: 'name_taken',
    })
    api.on('GET /v1/text', () => new Reply(400, 'plain words'))
    await assert.rejects(client.get('/v1/text'), { message: 'plain words' })
    api.graphql.app = () => new Error('Could not find App')
    await assert.rejects(client.graphql('query { app { id } }'), {
      message: 'Could not find App',
      status: 404,
    })
  })
})

test('time-out, interrupt and nobody there', async () => {
  await withApi(async (api, client) => {
    api.on('GET /v1/slow', () => new Promise((done) => setTimeout(done, 200)))
    await assert.rejects(client.request('GET', '/v1/slow', { timeoutMs: 20 }), { code: 'deadline' })
    const interrupt = new AbortController()
    const pending = clientOf(api.url, interrupt.signal).get('/v1/slow')
    interrupt.abort()
    await assert.rejects(pending, { code: 'cancelled' })
  })
  await assert.rejects(clientOf('http://127.0.0.1:1').get('/v1/x'), {
    code: 'unreachable',
    message: /Nothing answers at http:\/\/127.0.0.1:1 .*npm run up/,
  })
})

test('lines come one by one, the last also without an end', async () => {
  await withApi(async (api, client) => {
    api.on('GET /v1/lines', () => '{"a":1}\n\n{"b":"ü"}')
    const lines: string[] = []
    for await (const line of client.lines('/v1/lines', {})) lines.push(line)
    assert.deepEqual(lines, ['{"a":1}', '{"b":"ü"}'])
  })
})

test('the environment wins over the world; its token is never sent elsewhere', () => {
  const state = mkdtempSync(join(tmpdir(), 'fairway-state-'))
  try {
    const env = { FAIRWAY_STATE: state }
    assert.throws(() => resolveEndpoint(env, undefined), { code: 'no_world' })
    writeFileSync(
      join(state, 'cli.json'),
      JSON.stringify({ apiUrl: 'http://127.0.0.1:4280/', token: 'world', appsPort: 8080 }),
    )
    assert.deepEqual(resolveEndpoint(env, undefined), {
      graphql: 'http://127.0.0.1:4280',
      machines: 'http://127.0.0.1:4280',
      uiex: 'http://127.0.0.1:4280',
      token: 'world',
      tokenSource: 'the running world',
      appsPort: 8080,
    })
    const other = { ...env, FLY_FLAPS_BASE_URL: 'http://other:1', FLY_API_BASE_URL: 'http://api:1' }
    assert.throws(() => resolveEndpoint(other, undefined), /No token for http:\/\/api:1/)
    const both = resolveEndpoint({ ...other, FLY_API_TOKEN: 'Bearer t' }, undefined)
    assert.deepEqual(
      [both.machines, both.graphql, both.uiex, both.token, both.appsPort],
      ['http://other:1', 'http://api:1', 'http://api:1', 't', undefined],
    )
    assert.equal(resolveEndpoint({ ...env, FLY_API_TOKEN: 'a' }, 'flag').token, 'flag')
    writeFileSync(join(state, 'cli.json'), '{')
    assert.throws(() => resolveEndpoint(env, undefined), /cannot be read .*npm run up/)
  } finally {
    rmSync(state, { recursive: true })
  }
})
