import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, test } from 'node:test'
import { keys } from '../model/keys.ts'
import { createApp, deleteApp, getApp } from './apps.ts'
import {
  ARTIFACTS_PER_APP_MAX,
  artifactOf,
  FORGET_BATCH,
  openArtifact,
  putArtifact,
  sweepArtifacts,
} from './artifacts.ts'
import { createOrg } from './orgs.ts'
import { createRelease } from './releases.ts'
import { type TestControl, testActor, testConfig, testControl } from './testing.ts'
import { put } from './transact.ts'

const ada = testActor('personal')
let control: TestControl
let dir: string

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'fairway-artifacts-'))
  control = testControl({ config: testConfig({ stateDir: dir }) })
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  for (const name of ['hello', 'other']) await createApp(control, ada, { name, org: 'personal' })
})
afterEach(() => rmSync(dir, { recursive: true }))

const bytes = Buffer.from('a packed folder'.repeat(10_000))
const digest = createHash('sha256').update(bytes).digest('hex')
const store = (app = 'hello', expected?: string) =>
  putArtifact(control, ada, { app, stream: Readable.from([bytes]), expected: expected ?? null })
const files = () => readdirSync(join(dir, 'artifacts'))

test('what was put is there under its digest, readable by its owner alone', async () => {
  const artifact = await store('hello', `sha256:${digest}`)
  assert.deepEqual([artifact.digest, artifact.size], [digest, bytes.length])
  const { stream, size } = await openArtifact(control, digest)
  assert.deepEqual(await buffer(stream), bytes)
  assert.equal(size, bytes.length)
  assert.equal(statSync(join(dir, 'artifacts', digest)).mode & 0o777, 0o400)
  assert.equal((await artifactOf(control, 'hello', digest))?.size, bytes.length)
  assert.equal(await artifactOf(control, 'other', digest), undefined)
})

test('a wrong digest, a broken stream and a foreign app leave nothing behind', async () => {
  await assert.rejects(store('hello', 'c'.repeat(64)), /SHA-256 is/)
  await assert.rejects(store('hello', 'not a digest'), { code: 'invalid' })
  const broken = new Readable({
    read() {
      this.push('half')
      this.destroy(new Error('cut'))
    },
  })
  await assert.rejects(putArtifact(control, ada, { app: 'hello', stream: broken }), /cut/)
  await assert.rejects(store('nobody'), { status: 404 })
  assert.deepEqual(files(), [])
  await assert.rejects(openArtifact(control, digest), { status: 404 })
  await assert.rejects(openArtifact(control, '../../etc/passwd'), { code: 'invalid' })
})

test('a file goes with the last app that refers to it', async () => {
  await Promise.all([store('hello'), store('hello'), store('other')])
  assert.deepEqual(files(), [digest])
  await deleteApp(control, ada, 'hello')
  assert.deepEqual(files(), [digest])
  await deleteApp(control, ada, 'other')
  assert.deepEqual(files(), [])
})

test('an artifact whose file is not there counts as never given, until it is sent again', async () => {
  await store()
  rmSync(join(dir, 'artifacts', digest))
  assert.equal(await artifactOf(control, 'hello', digest), undefined)
  await store()
  assert.equal((await artifactOf(control, 'hello', digest))?.size, bytes.length)
})

test('a file that an app gives up stays for one that is just being given it', async () => {
  await store('hello')
  const { store: real } = control
  const reached = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  const raced: TestControl = {
    ...control,
    store: {
      ...real,
      // The other app's bytes are received; its reference is about to be written.
      get: async (key) => {
        if (key === keys.artifact('other', digest)) {
          reached.resolve()
          await gate.promise
        }
        return real.get(key)
      },
      txn: async (txn) => {
        const done = await real.txn(txn)
        const gone = keys.artifactUse(digest, 'hello')
        if (txn.then.some((op) => 'delete' in op && op.delete === gone)) gate.resolve()
        return done
      },
      range: async (prefix, options) => {
        const found = await real.range(prefix, options)
        if (prefix === `artifact-use/${digest}/`) await coming
        return found
      },
    },
  }
  const stream = Readable.from([bytes])
  const coming = putArtifact(raced, ada, { app: 'other', stream })
  await reached.promise
  await deleteApp(raced, ada, 'hello')
  await coming
  assert.deepEqual(files(), [digest])
})

/** Records of `count` artifacts, the n-th made at `n` ms; their digests by age. */
async function fill(count: number): Promise<string[]> {
  const digests = Array.from({ length: count }, (_, n) => n.toString(16).padStart(64, '0'))
  for (const [n, one] of digests.entries()) {
    const artifact = { digest: one, size: 1, createdAt: new Date(n).toISOString() }
    const use = put(keys.artifactUse(one, 'hello'), { app: 'hello' })
    await control.store.txn({ then: [put(keys.artifact('hello', one), artifact), use] })
  }
  mkdirSync(join(dir, 'artifacts'))
  for (const one of digests) writeFileSync(join(dir, 'artifacts', one), 'x')
  return digests
}

test('beyond the limit the oldest artifacts go that no release and no machine names', async () => {
  const digests = await fill(ARTIFACTS_PER_APP_MAX)
  const [first, second, third] = digests as [string, string, string]
  const image = `registry.fairway.test/hello@sha256:${first}`
  await createRelease(control, ada, { app: 'hello', image })
  const app = await getApp(control, ada, 'hello')
  const machine = {
    ...{ id: 'm', app: 'hello', org: 'personal', createdAt: app.createdAt },
    config: { image: `sha256:${second}` },
  }
  await control.store.txn({
    then: [
      put(keys.endpoint('hello', 'm'), { machine: 'm', app: 'hello', host: 'iad1' }),
      put(keys.machine('iad1', 'm'), machine),
      put(keys.status('m'), {}),
    ],
  })
  await store()
  const left = files()
  assert.deepEqual(left.slice(0, 2), [first, second])
  assert.equal(left.length, ARTIFACTS_PER_APP_MAX + 1 - FORGET_BATCH)
  assert.ok(left.includes(digest))
  assert.equal(await artifactOf(control, 'hello', third), undefined)
  const referred = [...control.store.dump().keys()].filter((key) => key.startsWith('artifact-use/'))
  assert.equal(referred.length, left.length)
})

test('an app whose releases name as many artifacts as it may have gets no further one', async () => {
  const digests = await fill(ARTIFACTS_PER_APP_MAX)
  for (const [n, one] of digests.entries()) {
    const release = { id: `r${n}`, image: `sha256:${one}` }
    await control.store.txn({ then: [put(keys.release('hello', n), release)] })
  }
  await assert.rejects(store(), { code: 'too_many', message: /900 artifacts.*destroy machines/ })
})

test('drafts that a crash has left are swept at start', async () => {
  await store()
  writeFileSync(join(dir, 'artifacts', '.incoming-1'), 'half')
  await sweepArtifacts(control)
  assert.deepEqual(files(), [digest])
})
