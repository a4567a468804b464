import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { configOf } from './testing.ts'

/** The control process as its supervisor runs it: started, killed, started again. */

let stateDir: string
let child: ChildProcess
let api: string
before(async () => {
  stateDir = mkdtempSync(join(tmpdir(), 'fairway-main-'))
  await start()
})
after(() => {
  child.kill('SIGKILL')
  rmSync(stateDir, { recursive: true })
})

async function start(): Promise<void> {
  const config = join(stateDir, 'control.json')
  writeFileSync(config, JSON.stringify(configOf(stateDir)))
  const main = join(import.meta.dirname, 'main.ts')
  const stdio = ['ignore', 'ignore', 'ignore', 'ipc'] as const
  child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, config], {
    stdio: [...stdio],
  })
  const [message] = (await once(child, 'message')) as [{ t: string; apiPort: number }]
  assert.equal(message.t, 'ready')
  api = `http://127.0.0.1:${message.apiPort}`
}

const call = async (method: string, path: string, body?: object) => {
  const token = readFileSync(join(stateDir, 'token'), 'utf8').trim()
  const response = await fetch(api + path, {
    method,
    signal: AbortSignal.timeout(10_000),
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  return { status: response.status, json: (await response.json()) as Record<string, unknown> }
}

test('the first token is readable by its owner alone', () => {
  assert.equal(statSync(join(stateDir, 'token')).mode & 0o777, 0o600)
})

test('what was acknowledged is there after kill -9', async () => {
  const create = (i: number) => call('POST', '/v1/apps', { name: `app-${i}`, org_slug: 'personal' })
  const acknowledged = new Set<string>()
  const racing = Array.from({ length: 200 }, (_, i) =>
    create(i).then(
      ({ status, json }) => status === 201 && acknowledged.add(String(json.name)),
      () => undefined,
    ),
  )
  while (acknowledged.size < 10) await new Promise((resolve) => setTimeout(resolve, 1))
  child.kill('SIGKILL')
  await Promise.all([once(child, 'exit'), ...racing])
  await start()
  const { json } = await call('GET', '/v1/apps')
  const names = new Set((json.apps as { name: string }[]).map((app) => app.name))
  for (const name of acknowledged) assert.ok(names.has(name), name)
})

test('SIGTERM ends it in order', async () => {
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  assert.equal(code, 0)
})
