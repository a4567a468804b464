import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { keys } from '../model/keys.ts'
import type { Address, App, Endpoint, EndpointService } from '../model/resources.ts'
import { reapQuarantine } from './address-pools.ts'
import {
  allocateAddress,
  attachV4,
  detachV4,
  listAddresses,
  listParked,
  releaseAddress,
} from './addresses.ts'
import { createApp, deleteApp, getApp } from './apps.ts'
import { createOrg, setAllowSharedBesideDedicated } from './orgs.ts'
import { fakeEdges, type TestControl, testActor, testConfig, testControl } from './testing.ts'
import { put, readOne } from './transact.ts'

const ada = testActor('personal', 'team')
const mallory = testActor('mallory')
let control: TestControl

beforeEach(async () => {
  control = testControl()
  for (const slug of ['personal', 'team', 'mallory']) {
    await createOrg(control, { slug, name: slug, type: 'SHARED' })
  }
  await createApp(control, ada, { name: 'hello', org: 'personal' })
  await createApp(control, ada, { name: 'other', org: 'personal' })
  await createApp(control, mallory, { name: 'evil', org: 'mallory' })
})

const allocate = (kind: Address['kind'], app = 'hello', more = {}) =>
  allocateAddress(control, ada, { app, kind, ...more })
const release = (address: string, app = 'hello') => releaseAddress(control, ada, { app, address })
const recordOf = (address: string) => readOne<Address>(control.store, keys.address(address))
const texts = async (app = 'hello') =>
  (await listAddresses(control, ada, app)).map((a) => a.address)

const web: EndpointService = {
  protocol: 'tcp',
  internalPort: 8080,
  ports: [servicePort(80, ['http']), servicePort(443, ['tls', 'http'])],
  concurrency: { type: 'connections', soft: 20, hard: null },
  autostart: false,
  load: 0,
  healthy: true,
  upSinceMs: null,
  options: null,
}
function servicePort(port: number, handlers: ('http' | 'tls')[]) {
  return {
    start: port,
    end: port,
    handlers,
    forceHttps: false,
    httpOptions: null,
    tlsOptions: null,
    proxyProtoVersion: 'v1' as const,
  }
}
async function serve(app: string, services: EndpointService[]) {
  const endpoint: Endpoint = {
    machine: 'm1',
    app,
    host: 'iad1',
    region: 'iad',
    release: null,
    group: 'app',
    v4: '172.16.0.2',
    v6: 'fdaa:0:1:a7b:1:0:1:2',
    state: 'started',
    cordoned: false,
    services,
  }
  await control.store.txn({ then: [put(keys.endpoint(app, 'm1'), endpoint)] })
}

test('a dedicated v4 comes from the pool with its price, attached to the app', async () => {
  const { address, price, created } = await allocate('v4')
  assert.equal(address.address, '203.0.113.16')
  assert.deepEqual([address.app, address.org, address.state], ['hello', 'personal', 'attached'])
  assert.deepEqual([address.region, address.kind, created], ['global', 'v4', true])
  assert.deepEqual(price, { kind: 'v4', perMonth: '2.00', currency: 'USD' })
  assert.deepEqual(await texts(), ['203.0.113.16'])
})

test('v6 addresses are /128s of the pool, all different', async () => {
  const got = await Promise.all(Array.from({ length: 20 }, () => allocate('v6')))
  const addresses = new Set(got.map((a) => a.address.address))
  assert.equal(addresses.size, 20)
  for (const address of addresses) assert.match(address, /^2001:db8:1:/)
})

test('private v6 addresses count up in the org default network, whatever network the app has', async () => {
  await createApp(control, ada, { name: 'apart', org: 'personal', network: 'apart' })
  const first = await allocate('private_v6', 'apart')
  const second = await allocate('private_v6', 'hello')
  assert.equal(first.address.address, 'fdaa:0:1:0:1::1')
  assert.equal(second.address.address, 'fdaa:0:1:0:1::2')
  assert.equal(first.address.network, 'default')
  const named = await allocate('private_v6', 'hello', { network: 'apart' })
  assert.equal(named.address.network, 'apart')
  await assert.rejects(allocate('private_v6', 'hello', { network: 'nowhere' }), /does not exist/)
})

test('a private address can be placed in another org of the caller, not in a foreign one', async () => {
  const { address } = await allocate('private_v6', 'hello', { org: 'team' })
  assert.deepEqual([address.org, address.network, address.app], ['team', 'default', 'hello'])
  await assert.rejects(allocate('private_v6', 'hello', { org: 'mallory' }), { status: 404 })
})

test('regional addresses name a known region', async () => {
  assert.equal((await allocate('v6', 'hello', { region: 'lhr' })).address.region, 'lhr')
  assert.equal((await allocate('v4', 'hello', { region: '' })).address.region, 'global')
  await assert.rejects(allocate('v4', 'hello', { region: 'mars' }), {
    message: 'region "mars" is not known; choose one of iad, lhr, nrt',
  })
  await assert.rejects(allocate('shared_v4', 'hello', { region: 'lhr' }), /leave it out/)
})

test('the shared v4 is one per app, asked for as often as one likes', async () => {
  const first = await allocate('shared_v4')
  const again = await allocate('shared_v4')
  assert.deepEqual([first.address.address, first.created], ['203.0.113.1', true])
  assert.deepEqual([again.address.address, again.created], ['203.0.113.1', false])
  assert.deepEqual(await texts(), ['203.0.113.1'])
  assert.equal((await recordOf('203.0.113.1'))?.app, null)
  await release('203.0.113.1')
  assert.deepEqual(await texts(), [])
})

test('apps spread over several shared addresses, and always come back to the same one', async () => {
  control = { ...control, config: testConfig() }
  Object.assign(control.config.pools, { sharedV4: ['203.0.113.0/30'] })
  const seen = new Set<string>()
  for (let i = 0; i < 24; i++) {
    const app = `spread-${i}`
    await createApp(control, ada, { name: app, org: 'personal' })
    const { address } = (await allocate('shared_v4', app)).address
    seen.add(address)
    await release(address, app)
    assert.equal((await allocate('shared_v4', app)).address.address, address)
  }
  assert.equal(seen.size, 4)
})

test('X14: no shared v4 beside a dedicated one, unless the org allows it', async () => {
  const { address } = (await allocate('v4')).address
  await assert.rejects(allocate('shared_v4'), {
    code: 'has_dedicated_v4',
    message: /fairway ips release 203\.0\.113\.16 -a hello/,
  })
  await setAllowSharedBesideDedicated(control, ada, { org: 'personal', allow: true })
  await allocate('shared_v4')
  assert.deepEqual(await texts(), [address, '203.0.113.1'])
})

test('a dedicated v4 bought by an app with the shared one leaves that in place', async () => {
  await allocate('shared_v4')
  const { app } = await allocate('v4')
  assert.equal(app.sharedV4, '203.0.113.1')
})

test('releasing the last dedicated v4 reverts to the shared one when the app qualifies', async () => {
  await serve('hello', [web])
  const one = (await allocate('v4')).address.address
  const two = (await allocate('v4')).address.address
  assert.equal((await release(one)).reverted, null)
  const last = await release(two)
  assert.deepEqual([last.reverted, last.notReverted], ['203.0.113.1', null])
  assert.equal((await getApp(control, ada, 'hello')).sharedV4, '203.0.113.1')
})

test('two releases of the last two dedicated addresses at once still revert', async () => {
  await serve('hello', [web])
  const got = [await allocate('v4'), await allocate('v4')]
  await Promise.all(got.map((a) => release(a.address.address)))
  assert.equal((await getApp(control, ada, 'hello')).sharedV4, '203.0.113.1')
})

test('it does not revert when a service needs its own address, and says why', async () => {
  await serve('hello', [web, { ...web, ports: [servicePort(5432, [])] }])
  const { address } = (await allocate('v4')).address
  const { reverted, notReverted } = await release(address)
  assert.equal(reverted, null)
  assert.equal(notReverted, 'TCP port 5432 is neither 80 nor 443')
})

test('a released address rests in quarantine, then is given out again, never used ones first', async () => {
  const used = (await allocate('v4')).address.address
  await release(used)
  const record = await recordOf(used)
  assert.deepEqual([record?.state, record?.app, record?.org], ['quarantined', null, null])
  assert.equal((await allocate('v4')).address.address, '203.0.113.17')
  for (let i = 18; i <= 23; i++) {
    assert.equal((await allocate('v4')).address.address, `203.0.113.${i}`)
  }
  await assert.rejects(allocate('v4'), {
    code: 'pool_full',
    message:
      /IPv4 pool \(203\.0\.113\.16\/29\) is full: 8 addresses, 1 in quarantine, the next free at 2026-01-01T00:01:00\.000Z/,
  })
  control.clock.advance(control.config.quarantineMs)
  assert.equal((await allocate('v4')).address.address, used)
})

test('of those used before, the least recently used is the first to be used again', async () => {
  const got: string[] = []
  for (let i = 0; i < 8; i++) got.push((await allocate('v4')).address.address)
  for (const address of [got[3]!, got[0]!, got[5]!]) {
    await release(address)
    control.clock.advance(1_000)
  }
  control.clock.advance(control.config.quarantineMs)
  assert.equal(await reapQuarantine(control), 3)
  assert.equal(await recordOf(got[3]!), undefined)
  const again = [await allocate('v4'), await allocate('v4'), await allocate('v4')]
  assert.deepEqual(
    again.map((a) => a.address.address),
    [got[3], got[0], got[5]],
  )
})

test('racing for the last addresses: each goes to one, the others hear that the pool is full', async () => {
  const settled = await Promise.allSettled(Array.from({ length: 20 }, () => allocate('v4')))
  const got = settled.flatMap((s) => (s.status === 'fulfilled' ? [s.value.address.address] : []))
  assert.equal(new Set(got).size, 8)
  for (const s of settled) {
    if (s.status === 'rejected') assert.equal(s.reason.code, 'pool_full')
  }
  assert.deepEqual((await texts()).sort(), got.sort())
})

test('.0, .255 and shared addresses are never given out', async () => {
  Object.assign(control.config.pools, {
    v4: ['198.51.100.254/31', '198.51.101.0/31', '203.0.113.0/31'],
  })
  const got = [await allocate('v4'), await allocate('v4')]
  assert.deepEqual(
    got.map((a) => a.address.address),
    ['198.51.100.254', '198.51.101.1'],
  )
  await assert.rejects(allocate('v4'), { code: 'pool_full' })
})

test('a pool whose prefixes change keeps track of what is in use', async () => {
  await allocate('v4')
  const freed = (await allocate('v4')).address.address
  Object.assign(control.config.pools, { v4: ['203.0.113.16/31'] })
  await release(freed)
  control.clock.advance(control.config.quarantineMs)
  assert.equal((await allocate('v4')).address.address, freed)
  await assert.rejects(allocate('v4'), { code: 'pool_full' })
  Object.assign(control.config.pools, { v4: ['198.51.100.8/31'] })
  await release(freed)
  control.clock.advance(control.config.quarantineMs)
  const moved = [await allocate('v4'), await allocate('v4')]
  assert.deepEqual(
    moved.map((a) => a.address.address),
    ['198.51.100.8', '198.51.100.9'],
  )
  await assert.rejects(allocate('v4'), { code: 'pool_full' })
  Object.assign(control.config.pools, { v4: ['203.0.113.16/31'] })
  assert.equal((await allocate('v4')).address.address, freed)
})

test('addresses that are malformed, unknown, foreign or of another app are refused by name', async () => {
  await assert.rejects(release('300.1.2.3'), { message: "Invalid IP address: '300.1.2.3'" })
  await assert.rejects(release('hello'), { message: "Invalid IP address: 'hello'" })
  await assert.rejects(release('203.0.113.20'), { status: 404, code: 'address_not_found' })
  const foreign = await allocateAddress(control, mallory, { app: 'evil', kind: 'v4' })
  const unknown = await release('203.0.113.23').catch((e: Error) => e.message)
  const others = await release(foreign.address.address).catch((e: Error) => e.message)
  assert.equal(others, String(unknown).replace('203.0.113.23', foreign.address.address))
  const mine = (await allocate('v4', 'other')).address.address
  await assert.rejects(release(mine), { message: /belongs to app "other", not to "hello"/ })
  await assert.rejects(allocate('v6', 'evil'), { message: 'Could not find App', status: 404 })
  await assert.rejects(allocate('v6', 'nobody'), { message: 'Could not find App', status: 404 })
  assert.equal((await recordOf(foreign.address.address))?.app, 'evil')
})

test('any text form of an address finds it', async () => {
  Object.assign(control.config.pools, { v6: ['2001:db8:1::/120'] })
  const { address } = (await allocate('v6')).address
  assert.equal((await release(address.toUpperCase().replace('::', ':0:0:0:0:'))).address, address)
})

test('detach parks the address in its org; attach gives it to another app of the org', async () => {
  const edges = fakeEdges(['nrt1'])
  control = { ...control, edges }
  await serve('hello', [web])
  const { address } = (await allocate('v4')).address
  const parked = await detachV4(control, ada, { app: 'hello' })
  assert.deepEqual(
    [parked.address.state, parked.address.app, parked.from],
    ['parked', null, 'hello'],
  )
  assert.equal(parked.address.org, 'personal')
  assert.equal(parked.reverted, '203.0.113.1')
  assert.deepEqual(parked.waiting, ['nrt1'])
  assert.deepEqual(edges.asked, [parked.revision])
  assert.deepEqual(
    (await listParked(control, ada, 'personal')).map((a) => a.address),
    [address],
  )
  assert.deepEqual(await texts('hello'), ['203.0.113.1'])
  const moved = await attachV4(control, ada, { app: 'other', address })
  assert.deepEqual(
    [moved.address.app, moved.from, moved.address.state],
    ['other', null, 'attached'],
  )
  assert.deepEqual(await listParked(control, ada, 'personal'), [])
  assert.deepEqual(await texts('other'), [address])
})

test('attach takes an address from one app to another in one revision', async () => {
  await serve('hello', [web])
  const { address } = (await allocate('v4')).address
  const moved = await attachV4(control, ada, { app: 'other', address })
  assert.deepEqual([moved.from, moved.app.name, moved.reverted], ['hello', 'other', '203.0.113.1'])
  assert.equal((await control.store.get(keys.address(address)))?.modRevision, moved.revision)
  assert.deepEqual(await texts('hello'), ['203.0.113.1'])
  assert.deepEqual(await texts('other'), [address])
  const again = await attachV4(control, ada, { app: 'other', address })
  assert.equal(again.revision, moved.revision, 'asked again: the same change is waited for')
})

test('attach and detach refuse what is not a dedicated v4 of the org', async () => {
  const v6 = (await allocate('v6')).address.address
  await assert.rejects(attachV4(control, ada, { app: 'other', address: v6 }), {
    code: 'not_dedicated_v4',
  })
  await assert.rejects(detachV4(control, ada, { app: 'hello', address: v6 }), {
    code: 'not_dedicated_v4',
  })
  await assert.rejects(detachV4(control, ada, { app: 'hello' }), /no dedicated IPv4/)
  const foreign = (await allocateAddress(control, mallory, { app: 'evil', kind: 'v4' })).address
  for (const address of [foreign.address, '203.0.113.22']) {
    await assert.rejects(attachV4(control, ada, { app: 'hello', address }), { status: 404 })
  }
  await createApp(control, ada, { name: 'teams', org: 'team' })
  const teams = (await allocate('v4', 'teams')).address.address
  await assert.rejects(
    attachV4(control, ada, { app: 'hello', address: teams }),
    /org "personal" has no/,
  )
  await assert.rejects(
    attachV4(control, ada, { app: 'hello', address: 'x' }),
    /Invalid IP address: 'x'/,
  )
  await allocate('v4')
  await allocate('v4')
  await assert.rejects(detachV4(control, ada, { app: 'hello' }), /name the one to detach/)
})

test('a parked address is released by any app of its org', async () => {
  const { address } = (await allocate('v4')).address
  await detachV4(control, ada, { app: 'hello' })
  await release(address, 'other')
  assert.equal((await recordOf(address))?.state, 'quarantined')
  assert.deepEqual(await listParked(control, ada, 'personal'), [])
})

test('two attachments of one address at once: one app has it in the end', async () => {
  await createApp(control, ada, { name: 'third', org: 'personal' })
  const { address } = (await allocate('v4')).address
  await Promise.all(['other', 'third'].map((app) => attachV4(control, ada, { app, address })))
  const owner = (await recordOf(address))!.app!
  const lists = await Promise.all(['hello', 'other', 'third'].map(texts))
  assert.deepEqual(lists.flat(), [address])
  assert.deepEqual(await texts(owner), [address])
})

test('deleting an app quarantines all its addresses and frees its name', async () => {
  for (let i = 0; i < 70; i++) await allocate('v6')
  const v4 = (await allocate('v4')).address.address
  await deleteApp(control, ada, 'hello')
  const left = [...control.store.dump().keys()].filter((key) => key.includes('/hello'))
  assert.deepEqual(left, [])
  const quarantined = [...control.store.dump().keys()].filter((k) => k.startsWith('quarantine/'))
  assert.equal(quarantined.length, 71)
  assert.equal((await recordOf(v4))?.state, 'quarantined')
  const anew: App = await createApp(control, mallory, { name: 'hello', org: 'mallory' })
  assert.deepEqual(await listAddresses(control, mallory, anew.name), [])
})
