import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { keys } from '../model/keys.ts'
import type { App, Network } from '../model/resources.ts'
import { allocateAddress } from './addresses.ts'
import { resumeDeletions } from './app-deletion.ts'
import { createApp, deleteApp, getApp, listApps, markDeployed, pageApps } from './apps.ts'
import { maintain, startMaintenance } from './maintenance.ts'
import { listNetworks } from './networks.ts'
import { createOrg, ensureOrg, getOrg, listOrgs } from './orgs.ts'
import { type TestControl, testActor, testControl } from './testing.ts'
import { put, readOne } from './transact.ts'

const ada = testActor('personal', 'team')
const mallory = testActor('mallory')
let control: TestControl

beforeEach(async () => {
  control = testControl()
  for (const slug of ['personal', 'team', 'mallory']) {
    await createOrg(control, { slug, name: slug.toUpperCase(), type: 'SHARED' })
  }
})

const create = (name: string, org = 'personal', network?: string) =>
  createApp(control, ada, { name, org, network: network ?? null })

test('a new app is pending, in its org’s default network, without any address', async () => {
  const app = await create('hello')
  assert.deepEqual(
    [app.org, app.network, app.networkId, app.status, app.sharedV4],
    ['personal', 'default', 1, 'pending', null],
  )
  assert.deepEqual(await getApp(control, ada, 'hello'), app)
  await markDeployed(control, 'hello')
  assert.equal((await getApp(control, ada, 'hello')).status, 'deployed')
})

test('names are DNS labels, and not the platform’s own', async () => {
  const bad = [
    '',
    'a',
    '-ab',
    'ab-',
    'Hello',
    'a.b',
    'a/b',
    'a_b',
    'ä'.repeat(3),
    'x'.repeat(64),
    'xn--abc',
    'whoami',
    'ip',
    '_api',
  ]
  for (const name of bad) {
    await assert.rejects(create(name), { code: 'invalid', message: new RegExp(`name "${name}`) })
  }
  for (const name of ['ab', 'a1', '0-9', 'x'.repeat(63), 'hello-world']) await create(name)
})

test('a name is taken once, over all orgs, however many ask at once', async () => {
  const results = await Promise.allSettled([
    ...Array.from({ length: 5 }, () => create('hello')),
    createApp(control, mallory, { name: 'hello', org: 'mallory' }),
  ])
  const errors = results.flatMap((r) => (r.status === 'rejected' ? [r.reason] : []))
  assert.equal(errors.length, 5)
  for (const error of errors) {
    assert.deepEqual([error.code, error.status], ['name_taken', 422])
    assert.match(error.message, /Name has already been taken: "hello"/)
  }
})

test('orgs by slug, id and numeric id; foreign ones do not exist', async () => {
  const org = await getOrg(control, ada, 'team')
  assert.equal((await getOrg(control, ada, org.id)).slug, 'team')
  assert.equal((await getOrg(control, ada, String(org.numericId))).slug, 'team')
  assert.deepEqual(
    (await listOrgs(control, ada)).map((o) => o.slug),
    ['personal', 'team'],
  )
  for (const slug of ['mallory', 'nothing', 'a/b', '']) {
    await assert.rejects(getOrg(control, ada, slug), { status: 404 })
    await assert.rejects(create('hello', slug), { status: 404 })
  }
  assert.equal((await ensureOrg(control, { slug: 'team', name: 'x', type: 'PERSONAL' })).id, org.id)
  await assert.rejects(createOrg(control, { slug: 'a/b', name: '', type: 'SHARED' }), /not usable/)
})

test('a foreign app does not exist', async () => {
  await create('hello')
  const calls = [
    () => getApp(control, mallory, 'hello'),
    () => getApp(control, ada, 'nothing'),
    () => getApp(control, ada, '../org/personal'),
    () => deleteApp(control, mallory, 'hello'),
  ]
  for (const call of calls) {
    await assert.rejects(call, { message: 'Could not find App', status: 404 })
  }
})

test('N5: a network’s name keeps its id for ever; ids are never used twice', async () => {
  const first = await create('one', 'personal', 'blue')
  await deleteApp(control, ada, 'one')
  const again = await create('two', 'personal', 'blue')
  assert.equal(again.networkId, first.networkId)
  const others = [
    await create('three', 'team', 'blue'),
    await create('four'),
    await create('five', 'team'),
  ]
  const ids = [first, ...others].map((app) => app.networkId)
  assert.equal(new Set(ids).size, ids.length)
  assert.deepEqual(
    (await listNetworks(control, ada, 'personal')).map((n) => n.name),
    ['blue', 'default'],
  )
  assert.equal(
    (await readOne<Network>(control.store, keys.networkId(first.networkId)))?.name,
    'blue',
  )
  for (const name of ['1blue', 'blue_', 'b/l', '-b']) {
    await assert.rejects(create('six', 'personal', name), /network ".*" is not usable/)
  }
})

test('racing first uses of an org’s default network make one network', async () => {
  const apps = await Promise.all(Array.from({ length: 10 }, (_, i) => create(`app-${i}`)))
  assert.deepEqual([...new Set(apps.map((app) => app.networkId))], [1])
})

test('lists go over orgs, page by page', async () => {
  for (const [name, org] of [
    ['b', 'team'],
    ['a', 'team'],
    ['z', 'personal'],
    ['y', 'personal'],
  ]) {
    await create(`app-${name}`, org)
  }
  await createApp(control, mallory, { name: 'evil', org: 'mallory' })
  const names = async (org?: string) =>
    (await listApps(control, ada, { org: org ?? null })).map((app) => app.name)
  assert.deepEqual(await names(), ['app-y', 'app-z', 'app-a', 'app-b'])
  assert.deepEqual(await names('team'), ['app-a', 'app-b'])
  await assert.rejects(names('mallory'), { status: 404 })
  const seen: string[] = []
  let after: string | null = null
  do {
    const page: { apps: readonly App[]; next: string | null } = await pageApps(control, ada, {
      after,
      limit: 1,
    })
    seen.push(...page.apps.map((app) => app.name))
    after = page.next
  } while (after !== null)
  assert.deepEqual(seen, ['app-y', 'app-z', 'app-a', 'app-b'])
})

/** The same control plane, whose process dies at its `n`-th transaction from now on. */
function dyingAt(n: number): TestControl {
  let left = n
  const { store } = control
  return {
    ...control,
    store: {
      ...store,
      txn: async (txn) => {
        left -= 1
        if (left < 0) throw new Error('killed')
        return store.txn(txn)
      },
    },
  }
}

test('a deletion that a crash interrupts, at any step, is finished at the next start', async () => {
  for (let step = 0; step < 8; step++) {
    const name = `doomed-${step}`
    await create(name)
    for (let i = 0; i < 80; i++) await allocateAddress(control, ada, { app: name, kind: 'v6' })
    const died = await deleteApp(dyingAt(step), ada, name).then(
      () => false,
      () => true,
    )
    if (died && step > 0) {
      await assert.rejects(create(name), { code: 'conflict', message: /still being deleted/ })
    }
    await maintain(control)
    if (step === 0) await deleteApp(control, ada, name)
    const left = [...control.store.dump().keys()].filter((key) => key.includes(`/${name}`))
    assert.deepEqual(left, [])
    await create(name)
    await deleteApp(control, ada, name)
  }
  assert.equal(await resumeDeletions(control), 0)
})

test('maintenance stops when it is closed, and one failure does not end it', async () => {
  await create('hello')
  await control.store.txn({ then: [put('app-deleting/x', 'not an app')] })
  const running = startMaintenance(control)
  await new Promise((resolve) => setTimeout(resolve, 5))
  await running.close()
})
