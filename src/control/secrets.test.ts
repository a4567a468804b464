import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { createApp } from './apps.ts'
import { createOrg } from './orgs.ts'
import { listSecrets, openSecrets, SECRETS_VERSIONS_KEPT, setSecrets } from './secrets.ts'
import { type TestControl, testActor, testControl } from './testing.ts'

const ada = testActor('personal')
let control: TestControl

beforeEach(async () => {
  control = testControl()
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  await createApp(control, ada, { name: 'hello', org: 'personal' })
})

const set = (values: Record<string, string | null>) =>
  setSecrets(control, ada, { app: 'hello', values })

test('each change is a version, which a launch can open later', async () => {
  assert.equal((await set({ A: '1', B: 'two' })).version, 1)
  assert.equal((await set({ A: null, C: '3' })).version, 2)
  assert.deepEqual(await openSecrets(control, 'hello', 1), { A: '1', B: 'two' })
  assert.deepEqual(await openSecrets(control, 'hello', 2), { B: 'two', C: '3' })
  assert.deepEqual(await openSecrets(control, 'hello', 0), {})
  const { secrets, version } = await listSecrets(control, ada, 'hello')
  assert.deepEqual([secrets.map((s) => s.name), version], [['B', 'C'], 2])
})

test('nothing of a value is stored in the clear, and nothing is shown', async () => {
  await set({ PASSWORD: 'correct horse battery staple' })
  assert.ok(!JSON.stringify([...control.store.dump()]).includes('horse'))
  assert.ok(!JSON.stringify(await listSecrets(control, ada, 'hello')).includes('horse'))
})

test('the digest changes with the value and only with it; setting the same value changes nothing', async () => {
  const first = await set({ A: 'x' })
  const same = await set({ A: 'x' })
  assert.deepEqual(same, first)
  const changed = await set({ A: 'y' })
  assert.notEqual(changed.secrets[0]?.digest, first.secrets[0]?.digest)
  assert.equal((await set({ NEVER: null })).version, 2)
})

test('old versions go; a launch that still names one gets the oldest that is kept', async () => {
  for (let i = 1; i <= SECRETS_VERSIONS_KEPT + 5; i++) await set({ N: String(i) })
  const kept = [...control.store.dump().keys()].filter((key) => key.startsWith('secrets-version/'))
  assert.equal(kept.length, SECRETS_VERSIONS_KEPT)
  assert.deepEqual(await openSecrets(control, 'hello', 1), { N: '6' })
})

test('names and sizes are checked, and then nothing is set', async () => {
  for (const name of ['', '1A', 'A-B', 'A B', 'FLY_REGION', '__proto__', 'x'.repeat(129)]) {
    const values = Object.fromEntries([
      ['GOOD', '1'],
      [name, 'x'],
    ])
    await assert.rejects(set(values), { code: 'invalid' }, name)
  }
  await assert.rejects(set({ A: 'x'.repeat(70_000) }), /65536 is the limit/)
  await assert.rejects(set({ A: 'a\0b' }), /NUL/)
  const many = Object.fromEntries(Array.from({ length: 501 }, (_, i) => [`A${i}`, 'x']))
  await assert.rejects(set(many), /500 is the limit/)
  const large = Object.fromEntries(
    Array.from({ length: 9 }, (_, i) => [`A${i}`, 'x'.repeat(60_000)]),
  )
  await assert.rejects(set(large), { code: 'too_large' })
  assert.equal((await listSecrets(control, ada, 'hello')).version, 0)
})

test('racing changes all happen', async () => {
  await Promise.all(Array.from({ length: 8 }, (_, i) => set({ [`A${i}`]: String(i) })))
  assert.equal((await listSecrets(control, ada, 'hello')).secrets.length, 8)
})
