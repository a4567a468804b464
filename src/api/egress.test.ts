import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type FakeAgent, type TestProcess, testProcess } from './testing.ts'

/** The calls about egress: flyctl's GraphQL and promote, and ours, against a whole control process. */

let t: TestProcess
let iad1: FakeAgent
let image: string
before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  iad1.egressRevision = 0
  await t.api('POST', '/v1/apps', { name: 'hello', org_slug: 'personal' })
  image = `registry.fairway.test/hello@sha256:${await t.upload('hello')}`
})
after(() => t.close())

const IPS = '/api/v1/apps/hello/egress_ips'
const MACHINES = '/v1/apps/hello/machines'
const ok = async (method: string, path: string, body?: unknown) => {
  const answer = await t.api(method, path, body)
  assert.equal(answer.status, 200, answer.text)
  return answer.json
}
const refused = async (method: string, path: string, body: unknown, error: RegExp) => {
  const answer = await t.api(method, path, body)
  assert.ok(answer.status >= 400 && answer.status < 500, answer.text)
  assert.match(answer.json.error, error)
}
const graphql = async (query: string, variables: object) => {
  const answer = await ok('POST', '/graphql', { query, variables })
  assert.equal(answer.errors, undefined, JSON.stringify(answer.errors))
  return answer.data
}
const launch = () => ok('POST', MACHINES, { config: { image }, region: 'iad' })

const ALLOCATE =
  'mutation($input: AllocateEgressIPAddressInput!){allocateEgressIpAddress(input: $input){v4,v6}}'
const RELEASE =
  'mutation($input: ReleaseEgressIPAddressInput!){releaseEgressIpAddress(input: $input){v4 v6 clientMutationId}}'
const LIST =
  'query($appName: String!){app(name: $appName){egressIpAddresses{nodes{id ip version region updatedAt}} machines{nodes{id egressIpAddresses{nodes{id ip version region updatedAt}}}}}}'

test('flyctl’s way: allocate for app and machine, list, promote by address, release', async () => {
  const input = { appId: 'hello', machineId: '', region: 'iad' }
  const { v4, v6 } = (await graphql(ALLOCATE, { input })).allocateEgressIpAddress
  const { id } = await launch()
  const own = (await graphql(ALLOCATE, { input: { ...input, machineId: id, region: '' } }))
    .allocateEgressIpAddress
  const listed = (await graphql(LIST, { appName: 'hello' })).app
  const rows = (nodes: { ip: string; version: number; region: string }[]) =>
    nodes.map(({ ip, version, region }) => [ip, version, region])
  assert.deepEqual(rows(listed.egressIpAddresses.nodes), [
    [v4, 4, 'iad'],
    [v6, 6, 'iad'],
  ])
  assert.deepEqual(rows(listed.machines.nodes[0].egressIpAddresses.nodes), [
    [own.v4, 4, 'iad'],
    [own.v6, 6, 'iad'],
  ])
  for (const ip of [own.v4, own.v6]) {
    const path = `/api/v1/apps/hello/egress_ips/${ip}/promote`
    const { egress_ips } = await ok('POST', path)
    assert.deepEqual([egress_ips.length, egress_ips[0].machine_id], [2, null])
  }
  const machine = await ok('GET', `${MACHINES}/${id}`)
  assert.equal(machine.egress.v4, own.v4)
  assert.equal(machine.egress.ports.to - machine.egress.ports.from, 1_023)
  for (const ip of [v4, v6, own.v4]) {
    const { releaseEgressIpAddress } = await graphql(RELEASE, {
      input: { appId: 'hello', machineId: '', ip },
    })
    assert.deepEqual(Object.values(releaseEgressIpAddress).filter(Boolean), [ip])
  }
  await ok('DELETE', `${IPS}/${own.v6}`)
  assert.deepEqual((await ok('GET', IPS)).egress_ips, [])
  assert.equal((await ok('GET', `${MACHINES}/${id}`)).egress, null)
  const none = { input: { appId: 'hello', machineId: id, ip: '' } }
  const failed = await ok('POST', '/graphql', { query: RELEASE, variables: none })
  assert.match(failed.errors[0].message, /no machine-scoped egress IPs found for machine/)
  const nowhere = { input: { ...input, region: '' } }
  const without = await ok('POST', '/graphql', { query: ALLOCATE, variables: nowhere })
  assert.equal(
    without.errors[0].message,
    'a region must be provided when allocating an app-scoped egress IP address',
  )
  await ok('DELETE', `${MACHINES}/${id}?force=true`)
})

test('our way: pairs with pins and regions, drained, moved, larger blocks, and what they cost', async () => {
  const made = await ok('POST', IPS, { region: 'iad', count: 2 })
  assert.deepEqual([made.egress_ips.length, made.waiting], [4, []])
  const { id } = await launch()
  const [row] = (await ok('GET', IPS)).egress_ips.filter(
    (one: { blocks_used: number }) => one.blocks_used > 0,
  )
  assert.deepEqual(
    row.machines.map((one: { id: string; state: string }) => [one.id, one.state]),
    [[id, 'use']],
  )
  const drained = await ok('PATCH', `${IPS}/${row.ip}`, { draining: true })
  assert.deepEqual(drained.machines_moved, [id])
  assert.equal(drained.egress_ips[0].state, 'draining')
  const { egress } = await ok('POST', `/api/v1/apps/hello/machines/${id}/egress_blocks`, {
    count: 3,
  })
  assert.equal(egress.count, 3)
  const pinned = await ok('PATCH', `${IPS}/${row.ip}`, { draining: false, pin: { machine: id } })
  assert.deepEqual(pinned.egress_ips[0].pin, { machine: id })
  await t.api('POST', '/v1/apps', { name: 'other', org_slug: 'personal' })
  const moved = await ok('POST', `${IPS}/${row.ip}/move`, { app: 'other' })
  assert.deepEqual([moved.machines_moved, moved.egress_ips.length], [[id], 2])
  const { addresses } = await ok('GET', '/api/v1/orgs/personal/egress_metering')
  const hours = addresses.find((one: { address: string }) => one.address === row.ip)
  assert.deepEqual([hours.app, hours.hours, hours.price], ['other', 1, '0.005000'])
  await refused(
    'PATCH',
    `${IPS}/${row.ip}`,
    { draining: true },
    /app "hello" has no egress address/,
  )
  await refused('PATCH', `${IPS}/${row.ip}`, {}, /nothing to change; send pin, regions or draining/)
  await refused(
    'PATCH',
    `${IPS}/${row.ip}`,
    { pin: { group: 'a', machine: 'b' } },
    /body field pin/,
  )
  await refused('POST', IPS, { region: 'iad', count: 'x' }, /body field count/)
  await refused('POST', '/api/v1/apps/foreign/egress_ips', { region: 'iad' }, /Could not find App/)
  await ok('DELETE', `${MACHINES}/${id}?force=true`)
})

test('hosts are asked for ports in use and for a way out; one that is silent is named', async () => {
  const { id } = await launch()
  await ok('GET', `${MACHINES}/${id}/wait?state=started&timeout=5`)
  iad1.onCall = (call) =>
    call.method === 'egress-usage'
      ? [{ machine: id, used: 7 }, { machine: 'x'.repeat(80) }, { nothing: 1 }]
      : [{ ok: true, source: '198.51.100.130' }]
  const { usage, hosts_silent } = await ok('GET', '/api/v1/apps/hello/egress_usage')
  assert.deepEqual([usage, hosts_silent], [[{ machine: id, used: 7, host: 'iad1' }], []])
  const check = { host: 'db.example.com', port: 5432 }
  const { checks } = await ok('POST', '/api/v1/apps/hello/egress_check', check)
  assert.equal(checks.length, 1)
  assert.deepEqual([checks[0].machine, checks[0].source], [id, '198.51.100.130'])
  await refused('POST', '/api/v1/apps/hello/egress_check', { ...check, port: 0 }, /body field port/)
  iad1.onCall = () => []
  const silent = await ok('POST', '/api/v1/apps/hello/egress_check', { ...check, machine: id })
  assert.match(silent.checks[0].error, /gave no answer/)
})

test('a start is held until its host says that it steers, and not for longer than it may', async () => {
  // It says nothing: the wait ends by itself.
  iad1.egressRevision = null
  await iad1.report([])
  const { id, instance_id } = await launch()
  const held = await iad1.json('GET', `/agent/v1/launch/${id}?instance=${instance_id}`)
  assert.equal(held.status, 200)
  // It lags, and then says so much that the wait ends.
  await iad1.report([], { egressRevision: 0 })
  const launching = iad1.json('GET', `/agent/v1/launch/${id}`)
  await iad1.report([], { egressRevision: 1_000_000 })
  assert.equal(((await launching).json as { instanceId: string }).instanceId, instance_id)
})
