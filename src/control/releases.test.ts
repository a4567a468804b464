import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { createApp, getApp } from './apps.ts'
import { createOrg } from './orgs.ts'
import {
  createRelease,
  currentRelease,
  listReleases,
  RELEASES_KEPT,
  updateRelease,
} from './releases.ts'
import { type TestControl, testActor, testControl } from './testing.ts'

const ada = testActor('personal')
const mallory = testActor('mallory')
let control: TestControl

beforeEach(async () => {
  control = testControl()
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  await createApp(control, ada, { name: 'hello', org: 'personal' })
})

const release = () =>
  createRelease(control, ada, { app: 'hello', image: 'i@sha256:0', strategy: 'ROLLING' })

test('releases count up, newest first, also when they race', async () => {
  assert.equal(await currentRelease(control, ada, 'hello'), undefined)
  await Promise.all([release(), release(), release()])
  const all = await listReleases(control, ada, { app: 'hello' })
  assert.deepEqual(
    all.map((r) => r.version),
    [3, 2, 1],
  )
  assert.deepEqual(
    [all[0]?.status, all[0]?.strategy, all[0]?.user.email],
    ['pending', 'rolling', 'ada@example.com'],
  )
  assert.equal((await currentRelease(control, ada, 'hello'))?.version, 3)
  assert.equal((await listReleases(control, ada, { app: 'hello', limit: 1 })).length, 1)
})

test('a release that completes makes the app deployed', async () => {
  const { id } = await release()
  assert.equal((await updateRelease(control, ada, { id, status: 'running' })).status, 'running')
  assert.equal((await getApp(control, ada, 'hello')).status, 'pending')
  await updateRelease(control, ada, { id, status: 'complete' })
  assert.equal((await getApp(control, ada, 'hello')).status, 'deployed')
})

test('unknown, foreign and malformed releases and states are refused', async () => {
  const { id } = await release()
  await assert.rejects(updateRelease(control, ada, { id, status: 'great' }), /none of pending/)
  await assert.rejects(updateRelease(control, mallory, { id, status: 'failed' }), { status: 404 })
  await assert.rejects(updateRelease(control, ada, { id: '../x', status: 'failed' }), {
    status: 404,
  })
  await assert.rejects(listReleases(control, mallory, { app: 'hello' }), { status: 404 })
  const definition = { text: 'x'.repeat(300_000) }
  const large = createRelease(control, ada, { app: 'hello', image: 'i', definition })
  await assert.rejects(large, { code: 'too_large', status: 413 })
})

test('only the newest are kept', async () => {
  const first = await release()
  for (let i = 0; i < RELEASES_KEPT; i++) await release()
  const all = await listReleases(control, ada, { app: 'hello' })
  assert.deepEqual([all.length, all.at(-1)?.version], [RELEASES_KEPT, 2])
  const stale = updateRelease(control, ada, { id: first.id, status: 'failed' })
  await assert.rejects(stale, { status: 404 })
})
