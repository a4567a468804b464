import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  type Credentials,
  issueFollowerCertificate,
  issueHostCertificate,
  loadOrCreateCa,
} from '../control/ca.ts'
import { keys, PUBLIC_PREFIXES } from '../model/keys.ts'
import type { Host } from '../model/resources.ts'
import { HOST_LEASE_MS } from '../model/wire.ts'
import { FakeAgent, meshKeyOf, pause, type TestProcess, testProcess } from './testing.ts'

let t: TestProcess
let iad1: FakeAgent
let lhr1: FakeAgent
let digest: string
before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  lhr1 = await t.agent('lhr1')
  await t.api('POST', '/v1/apps', { name: 'hello', org_slug: 'personal' })
  digest = await t.upload('hello')
})
after(() => t.close())

const launch = async (region: string) => {
  const input = { config: { image: `sha256:${digest}` }, region }
  const { json } = await t.api('POST', '/v1/apps/hello/machines', input)
  await t.api('GET', `/v1/apps/hello/machines/${json.id}/wait?timeout=5`)
  return json
}
const client = async (tls: Credentials) => new FakeAgent('iad1', t.control.agentsPort, tls)
const until = async (condition: () => boolean) => {
  for (let i = 0; i < 500 && !condition(); i++) await pause(5)
  assert.ok(condition())
}

test('a host follows what is public and its own machines, nothing else', async () => {
  await t.api('POST', '/v1/apps/hello/secrets', { values: { KEY: 'hidden' } })
  const machine = await launch('iad')
  await until(() => lhr1.keys.has(keys.endpoint('hello', machine.id)))
  assert.ok(iad1.keys.has(keys.machine('iad1', machine.id)))
  const allowed = (key: string, host: string) =>
    [...PUBLIC_PREFIXES, `machine/${host}/`].some((prefix) => key.startsWith(prefix))
  for (const key of lhr1.keys) assert.ok(allowed(key, 'lhr1'), key)
  for (const key of iad1.keys) assert.ok(allowed(key, 'iad1'), key)
})

test('a follower sees what is public and may ask nothing else', async () => {
  const follower = await client(await issueFollowerCertificate(t.control.ca, 'resolver'))
  await follower.start().catch(() => {})
  await until(() => follower.keys.has(keys.app('hello')))
  for (const key of follower.keys)
    assert.ok(
      PUBLIC_PREFIXES.some((prefix) => key.startsWith(prefix)),
      key,
    )
  assert.equal((await follower.report([])).status, 403)
  const machine = await launch('iad')
  assert.equal((await follower.json('GET', `/agent/v1/launch/${machine.id}`)).status, 403)
  follower.stop()
})

test('certificates of others, none, and unknown hosts are refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-ca-'))
  const foreign = await issueHostCertificate(await loadOrCreateCa(folder), 'iad1')
  rmSync(folder, { recursive: true })
  const { ca } = t.control
  const refused = await client({ ...foreign, ca: ca.certificate })
  await assert.rejects(refused.report([]))
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const stolen = await issueHostCertificate(ca, 'iad1')
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  await assert.rejects(async () => (await client({ ...stolen, key })).report([]))
  const none = await client({ ca: ca.certificate } as Credentials)
  await assert.rejects(none.report([]))
  const unknown = await client(await issueHostCertificate(ca, 'mars1'))
  const answer = await unknown.report([], { host: 'mars1' })
  assert.equal(answer.status, 403)
  assert.match(answer.text, /host \\"mars1\\" is not configured/)
})

test('a host speaks for itself alone', async () => {
  assert.equal((await lhr1.report([], { host: 'iad1' })).status, 403)
  const machine = await launch('iad')
  assert.equal((await lhr1.json('GET', `/agent/v1/launch/${machine.id}`)).status, 404)
  const spec = await iad1.json('GET', `/agent/v1/launch/${machine.id}`)
  assert.deepEqual(spec.json, {
    machine: machine.id,
    instanceId: machine.instance_id,
    secrets: { KEY: 'hidden' },
    artifact: digest,
  })
  const old = await iad1.json('GET', `/agent/v1/launch/${machine.id}?instance=older`)
  assert.equal(old.status, 409)
})

test('a host gets the artifacts that its machines use', async () => {
  await launch('iad')
  const used = await iad1.json('GET', `/agent/v1/artifacts/${digest}`)
  assert.deepEqual([used.status, used.text], [200, 'an artifact'])
  assert.equal((await lhr1.json('GET', `/agent/v1/artifacts/${digest}`)).status, 404)
})

test('reports keep a host live, and bring its mesh key', async () => {
  const { fleet, store } = t.control.context
  const keyOf = async (id: string) =>
    (JSON.parse((await store.get(keys.host(id)))!.value) as Host).meshPublicKey
  assert.equal(await keyOf('iad1'), meshKeyOf('iad1'))
  await lhr1.report([], { meshPublicKey: meshKeyOf('iad1') })
  assert.equal(await keyOf('lhr1'), meshKeyOf('lhr1'), 'another host’s key is not taken')
  const iad2 = await t.agent('iad2')
  iad2.stop()
  const stoppedMs = Date.now()
  while (fleet.isLive('iad2')) {
    await pause(20)
    assert.ok(Date.now() - stoppedMs < HOST_LEASE_MS + 2_000, 'still live')
  }
})

test('edge revisions are waited for', async () => {
  const { edges, store } = t.control.context
  const { revision } = await store.range('x', { limit: 1 })
  iad1.edgeRevision = revision
  await iad1.report([])
  const late = await edges.waitFor(revision, 30)
  assert.deepEqual(late.waiting, ['lhr1'])
  const waiting = edges.waitFor(revision, 5_000)
  lhr1.edgeRevision = revision + 1
  await lhr1.report([])
  assert.deepEqual((await waiting).waiting, [])
})

test('answers go to the call of the same host only, and unanswered calls end', async () => {
  const machine = await launch('iad')
  const one = `/v1/apps/hello/machines/${machine.id}/ps`
  const process = {
    ...{ pid: 7, stime: 0, rtime: 1, cpu: 0, rss: 0, command: 'server', directory: '/' },
    listen_sockets: [],
  }
  iad1.onCall = () => [process]
  assert.deepEqual((await t.api('GET', one)).json, [process])
  const forged = await lhr1.json('POST', '/agent/v1/calls/unknown', {})
  assert.equal(forged.status, 404)
  iad1.stop()
  await until(() => !t.control.context.calls.isConnected('iad1'))
  const answer = await t.api('GET', one)
  assert.equal(answer.status, 412)
  assert.match(answer.json.error, /"iad1" cannot be asked/)
})
