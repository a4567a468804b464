import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { AnswerChecks } from '../src/api/openapi/testing.ts'
import {
  ADMIN_APP,
  appsAndAddresses,
  flyAdmin,
  machines,
  secretNames,
  volumesAndTheEnd,
} from './clients/fly-admin.ts'
import { flyctl } from './clients/flyctl.ts'
import { startRelay } from './clients/relay.ts'
import { replay, type Sequence, type Target, type Values } from './clients/replay.ts'
import { ADDRESSES, NOT_YET, SHARED } from './clients/sequences-addresses.ts'
import {
  BASICS,
  CREATION,
  DEPLOYS,
  DESTRUCTION,
  SECRETS_AND_SCALE,
} from './clients/sequences-apps.ts'
import { MACHINES } from './clients/sequences-machines.ts'
import { ROOT, run, type TestWorld, upWorld } from './support/world.ts'

/** Clients that others wrote, against the API of a small internet with machines that really run. */

let world: TestWorld
let target: Target
let scratch: string
let packed: Buffer

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'fairway-clients-'))
  const file = join(scratch, 'hello.tar.gz')
  await run(['tar', '-czf', file, '-C', join(ROOT, 'examples/hello'), '.'])
  packed = readFileSync(file)
  world = await upWorld()
  const url = `http://127.0.0.1:${world.apiPort}`
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as object
  target = { url, token: world.token, checks: new AnswerChecks(document) }
})
after(async () => {
  await world?.close()
  rmSync(scratch, { recursive: true, force: true })
})

/** The example as an artifact of the app; the reference by which it is run. */
async function upload(app: string): Promise<string> {
  const digest = createHash('sha256').update(packed).digest('hex')
  const answer = await fetch(`${target.url}/v1/apps/${app}/artifacts?digest=${digest}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${target.token}`, 'content-type': 'application/gzip' },
    body: new Uint8Array(packed),
  })
  assert.equal(answer.status, 201, await answer.text())
  return `registry.fairway.test/${app}@sha256:${digest}`
}

describe('flyctl’s requests, command by command', () => {
  const values: Values = {}
  const all = (sequences: readonly Sequence[]) => {
    for (const sequence of sequences) test(sequence.command, () => replay(target, sequence, values))
  }
  all(BASICS)
  all(CREATION)
  test('an image to deploy', async () => {
    values.image = await upload('shop')
  })
  all(DEPLOYS)
  all(SECRETS_AND_SCALE)
  test('the shared address, as ips list tells it', async () => {
    const headers = { authorization: `Bearer ${target.token}` }
    const answer = await fetch(`${target.url}/v1/apps/shop/ip_assignments`, { headers })
    const { ips } = (await answer.json()) as { ips: { ip: string; shared: boolean }[] }
    values.shared = ips.find((one) => one.shared)!.ip
  })
  all(ADDRESSES)
  all([SHARED])
  all(NOT_YET)
  all(MACHINES)
  all(DESTRUCTION)
})

test('fly-admin: every method that it has', async () => {
  const relay = await startRelay(target.url, target.checks)
  try {
    const { client, called, methods } = flyAdmin(relay.url, target.token)
    await appsAndAddresses(client)
    assert.deepEqual(await secretNames(target.url, target.token), ['THREE'])
    await machines(client, await upload(ADMIN_APP))
    await volumesAndTheEnd(client)
    assert.ok(methods.length > 30, `${methods.length} methods`)
    assert.deepEqual([...called].sort(), [...methods].sort())
    assert.deepEqual(relay.problems, [])
  } finally {
    await relay.close()
  }
})

const binary = process.env.FLYCTL_BIN
const skip = binary ? false : 'FLYCTL_BIN is not set: the real flyctl was NOT run'

test('flyctl itself', { skip, timeout: 900_000 }, async (t) => {
  const relay = await startRelay(target.url, target.checks)
  const home = mkdtempSync(join(tmpdir(), 'fly-'))
  try {
    const toml = join(scratch, 'fly.toml')
    writeFileSync(
      toml,
      'app = "flyshop"\nprimary_region = "iad"\n[processes]\n  app = "node server.js"\n[http_service]\n  internal_port = 8080\n  processes = ["app"]\n',
    )
    const fly = flyctl({ binary: binary!, url: relay.url, token: target.token, home, toml })
    await fly.run(t, async () => upload('flyshop'))
    assert.deepEqual(relay.problems, [])
  } finally {
    await relay.close()
    rmSync(home, { recursive: true, force: true })
  }
})
