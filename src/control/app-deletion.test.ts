import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, test } from 'node:test'
import { keys } from '../model/keys.ts'
import { finishDeletion } from './app-deletion.ts'
import { createApp, deleteApp } from './apps.ts'
import { putArtifact } from './artifacts.ts'
import { createOrg } from './orgs.ts'
import { createRelease } from './releases.ts'
import { setSecrets } from './secrets.ts'
import { type TestControl, testActor, testConfig, testControl } from './testing.ts'

const ada = testActor('personal')
const NAME = 'hello'
let control: TestControl
let dir: string

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'fairway-deletion-'))
  control = testControl({ config: testConfig({ stateDir: dir }) })
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
})
afterEach(() => rmSync(dir, { recursive: true }))

async function deploy(): Promise<void> {
  await createApp(control, ada, { name: NAME, org: 'personal' })
  await putArtifact(control, ada, { app: NAME, stream: Readable.from(['a packed folder']) })
  await setSecrets(control, ada, { app: NAME, values: { KEY: 'value' } })
  await createRelease(control, ada, { app: NAME, image: 'an image' })
}

const keysOf = (name: string) =>
  [...control.store.dump().keys()].filter((key) => key.includes(name))

/** Keys of what belongs to the app, and the files of all artifacts. */
const held = () => [...keysOf(NAME), ...readdirSync(join(dir, 'artifacts'))].sort()

/** The same control plane, which before its `n`-th access to the store waits for `meanwhile`. */
function pausedAt(n: number, meanwhile: () => Promise<void>): TestControl {
  const { store } = control
  let left = n
  const turn = async () => {
    left -= 1
    if (left === 0) await meanwhile()
  }
  return {
    ...control,
    store: {
      ...store,
      get: (key) => turn().then(() => store.get(key)),
      range: (prefix, options) => turn().then(() => store.range(prefix, options)),
      txn: (txn) => turn().then(() => store.txn(txn)),
    },
  }
}

test('a deletion that goes on after another has finished it leaves a new app of the name alone', async () => {
  for (let access = 1; access <= 40; access++) {
    await deploy()
    await control.store.txn({
      then: [{ delete: keys.app(NAME) }, { delete: keys.orgApp('personal', NAME) }],
    })
    const deleting = { id: 'old', name: NAME, org: 'personal', createdAt: '', since: '' }
    await control.store.txn({
      then: [{ put: keys.appDeleting(NAME), value: JSON.stringify(deleting) }],
    })
    let whole: string[] = []
    const late = pausedAt(access, async () => {
      await finishDeletion(control, NAME)
      assert.deepEqual(keysOf(NAME), [])
      await deploy()
      whole = held()
    })
    await finishDeletion(late, NAME)
    assert.deepEqual(held(), whole, `access ${access}`)
    if (whole.length > 0) await deleteApp(control, ada, NAME)
  }
})

test('a deletion that comes late does nothing', async () => {
  await deploy()
  const whole = held()
  await finishDeletion(control, NAME)
  assert.deepEqual(held(), whole)
})
