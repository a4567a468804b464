import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { after, before, test } from 'node:test'
import type { FakeAgent, TestProcess } from './testing.ts'
import { pause, testProcess } from './testing.ts'

let t: TestProcess
let iad1: FakeAgent
let image: string
before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  await t.agent('lhr1')
  const made = await t.api('POST', '/v1/apps?wait=true', {
    name: 'hello',
    org_slug: 'personal',
    network: '',
    app_role_id: '',
  })
  assert.equal(made.status, 201)
  assert.equal(made.json.name, 'hello')
  image = `registry.fairway.test/hello@sha256:${await t.upload('hello')}`
})
after(() => t.close())

const MACHINES = '/v1/apps/hello/machines'
const launch = async (input: object = {}, config: object = {}) => {
  const answer = await t.api('POST', MACHINES, {
    config: { image, init: {}, ...config },
    region: 'iad',
    skip_secrets: false,
    ...input,
  })
  assert.equal(answer.status, 200, answer.text)
  return answer.json
}
const started = async (input: object = {}, config: object = {}) => {
  const machine = await launch(input, config)
  const wait = await t.api('GET', `${MACHINES}/${machine.id}/wait?state=started&timeout=5`)
  assert.equal(wait.status, 200, wait.text)
  return machine
}

test('every call but health needs a token', async () => {
  const none = { authorization: '' }
  assert.equal((await t.api('GET', '/v1/health', undefined, none)).status, 200)
  for (const path of ['/v1/apps/hello', '/metrics', '/nowhere', MACHINES]) {
    const answer = await t.api('GET', path, undefined, none)
    assert.equal(answer.status, 401, path)
    assert.match(answer.json.error, /token/)
    assert.match(answer.headers.get('fly-request-id') ?? '', /^[0-9A-Z]{26}$/)
  }
  const wrong = { authorization: `Bearer fo1_${'x'.repeat(43)}` }
  assert.equal((await t.api('GET', MACHINES, undefined, wrong)).status, 401)
})

test('apps have the shape and errors that flyctl reads', async () => {
  const { json } = await t.api('GET', '/v1/apps/hello')
  assert.equal(typeof json.internal_numeric_id, 'number')
  assert.equal(typeof json.organization.internal_numeric_id, 'number')
  assert.equal(json.organization.slug, 'personal')
  const taken = await t.api('POST', '/v1/apps', { app_name: 'hello', org_slug: 'personal' })
  assert.equal(taken.status, 422)
  assert.equal(taken.json.status, 'name_taken')
  const missing = await t.api('GET', '/v1/apps/none')
  assert.equal(missing.status, 404)
  assert.match(missing.json.error, /Could not find App/)
  const list = await t.api('GET', '/v1/apps?org_slug=personal')
  assert.equal(list.json.total_apps, list.json.apps.length)
})

test('a launched machine is started by its host and has the documented shape', async () => {
  const machine = await started({ name: 'first' })
  let { json } = await t.api('GET', `${MACHINES}/${machine.id}`)
  // A host that was held up for a moment is soon heard of again.
  for (let i = 0; i < 50 && json.host_status !== 'ok'; i++) {
    await pause(100)
    ;({ json } = await t.api('GET', `${MACHINES}/${machine.id}`))
  }
  assert.equal(json.state, 'started')
  assert.equal(json.host_status, 'ok')
  assert.equal(json.instance_id, json.version)
  assert.deepEqual(json.config.guest, { cpu_kind: 'shared', cpus: 1, memory_mb: 256 })
  assert.equal(`sha256:${image.split('sha256:')[1]}`, json.image_ref.digest)
  assert.deepEqual(
    json.events.map((event: { type: string }) => event.type),
    ['start', 'launch'],
  )
  const list = await t.api('GET', MACHINES)
  assert.ok(list.json.some((one: { id: string }) => one.id === machine.id))
})

test('stop, start, restart, update and destroy over REST', async () => {
  const { id } = await started()
  const one = `${MACHINES}/${id}`
  const reach = (state: string) => t.api('GET', `${one}/wait?state=${state}&timeout=5`)
  assert.equal((await t.api('POST', `${one}/stop`, { id, timeout: '0s' })).status, 200)
  assert.equal((await reach('stopped')).status, 200)
  const start = await t.api('POST', `${one}/start`)
  assert.equal(start.json.previous_state, 'stopped')
  assert.equal((await reach('started')).status, 200)
  assert.equal((await t.api('POST', `${one}/restart?force_stop=false&timeout=10s`)).status, 200)
  assert.equal((await reach('settled')).status, 200)
  const updated = await t.api('POST', one, { config: { image, env: { A: 'b' } } })
  assert.equal(updated.json.config.env.A, 'b')
  const version = updated.json.instance_id
  const wait = await t.api('GET', `${one}/wait?state=started&version=${version}&timeout=5`)
  assert.equal(wait.json.version, version)
  const refused = await t.api('DELETE', `${one}?kill=false`)
  assert.equal(refused.status, 412)
  assert.equal((await t.api('DELETE', `${one}?kill=true`)).status, 200)
  assert.equal((await reach('destroyed')).status, 200)
  assert.equal((await t.api('GET', one)).json.state, 'destroyed')
  const lease = await t.api('DELETE', `${one}/lease`)
  assert.equal(lease.status, 404)
  assert.match(lease.json.error, /lease not found/)
})

test('wait answers 408 at its time-out and 400 for what is no state', async () => {
  iad1.onMachine = () => null
  const { id } = await launch()
  const late = await t.api('GET', `${MACHINES}/${id}/wait?state=started&timeout=1`)
  assert.equal(late.status, 408)
  iad1.onMachine = () => ({})
  assert.match(late.json.error, /machine failed to reach desired state, started/)
  assert.equal((await t.api('GET', `${MACHINES}/${id}/wait?state=fine`)).status, 400)
  assert.equal((await t.api('GET', `${MACHINES}/${id}/wait?timeout=61`)).status, 400)
})

test('leases by query and by body, with nonces', async () => {
  const machine = await launch({ lease_ttl: 30 })
  const one = `${MACHINES}/${machine.id}`
  const mine = { 'fly-machine-lease-nonce': machine.nonce }
  assert.equal((await t.api('POST', `${one}/lease?ttl=30`)).status, 409)
  const refreshed = await t.api('POST', `${one}/lease?ttl=60`, undefined, mine)
  assert.equal(refreshed.json.status, 'success')
  assert.equal(refreshed.json.data.nonce, machine.nonce)
  assert.equal(refreshed.json.data.version, machine.instance_id)
  assert.equal((await t.api('DELETE', `${one}?kill=true`)).status, 409)
  assert.equal((await t.api('DELETE', `${one}/lease`, undefined, mine)).status, 200)
  const body = await t.api('POST', `${one}/lease`, { ttl: 5, description: 'a deploy' })
  assert.equal(body.json.data.description, 'a deploy')
})

test('metadata, cordon, signal and suspend', async () => {
  const { id } = await started()
  const one = `${MACHINES}/${id}`
  assert.equal((await t.api('POST', `${one}/metadata/role`, { value: 'leader' })).status, 204)
  assert.deepEqual((await t.api('GET', `${one}/metadata`)).json, { role: 'leader' })
  assert.equal((await t.api('DELETE', `${one}/metadata/role`)).status, 204)
  assert.equal((await t.api('POST', `${one}/cordon`)).status, 200)
  assert.equal((await t.api('GET', one)).json.cordoned, true)
  assert.equal((await t.api('POST', `${one}/signal`, { signal: 9 })).status, 200)
})

test('suspend stops a machine: its memory is not kept', async () => {
  const { id } = await started()
  const one = `${MACHINES}/${id}`
  assert.equal((await t.api('POST', `${one}/suspend`)).status, 200)
  const wait = await t.api('GET', `${one}/wait?state=suspended&timeout=5`)
  assert.deepEqual([wait.status, wait.json.state], [200, 'stopped'])
  assert.equal((await t.api('GET', one)).json.events[0].type, 'suspend')
  assert.equal((await t.api('POST', `${one}/suspend`)).status, 200)
  const start = await t.api('POST', `${one}/start`)
  assert.equal(start.json.previous_state, 'stopped')
  const made = await launch({ skip_launch: true })
  const refused = await t.api('POST', `${MACHINES}/${made.id}/suspend`)
  assert.equal(refused.status, 412)
  assert.match(refused.json.error, /unable to suspend machine from current state: 'created'/)
})

test('restart takes its options from the query or, as other clients send them, from the body', async () => {
  const { id } = await started()
  const one = `${MACHINES}/${id}`
  const signal = () => iad1.machines.get(id)?.action?.signal
  assert.equal((await t.api('POST', `${one}/restart?signal=SIGINT`)).status, 200)
  await t.api('GET', `${one}/wait?state=settled&timeout=5`)
  assert.equal(signal(), 'SIGINT')
  assert.equal((await t.api('POST', `${one}/restart`, { signal: 'SIGUSR1' })).status, 200)
  await t.api('GET', `${one}/wait?state=settled&timeout=5`)
  assert.equal(signal(), 'SIGUSR1')
})

test('of what is not there yet clients find none, and are told when they ask for it', async () => {
  const app = '/v1/apps/hello'
  const list = await t.api('GET', `${app}/certificates?limit=50`)
  assert.deepEqual(list.json, { certificates: [], total_count: 0 })
  const name = '%2A.example.com'
  const acme = await t.api('POST', `${app}/certificates/acme`, { hostname: '*.example.com' })
  assert.deepEqual([acme.status, acme.json.status], [501, 'certificates_unsupported'])
  for (const [method, path] of [
    ['GET', ''],
    ['POST', '/check'],
    ['DELETE', ''],
    ['DELETE', '/acme'],
    ['DELETE', '/custom'],
  ] as const) {
    const one = await t.api(method, `${app}/certificates/${name}${path}`)
    assert.equal(one.status, 404)
    assert.match(one.json.error, /"\*\.example\.com": app "hello" has none/)
  }
  assert.deepEqual((await t.api('GET', `${app}/volumes`)).json, [])
  const volume = await t.api('POST', `${app}/volumes`, { name: 'data', region: 'iad' })
  assert.deepEqual([volume.status, volume.json.status], [501, 'volumes_unsupported'])
  assert.equal((await t.api('GET', `${app}/volumes/vol_1/snapshots`)).status, 404)
  assert.equal((await t.api('GET', '/v1/apps/none/certificates')).status, 404)
})

test('regions, placements, prices, metrics', async () => {
  const regions = (await t.api('GET', '/v1/platform/regions')).json
  assert.deepEqual(
    regions.Regions.map((region: { code: string }) => region.code),
    ['iad', 'lhr', 'nrt'],
  )
  assert.equal(regions.Nearest, 'iad')
  const placed = await t.api('POST', '/v1/platform/placements', { count: 3, region: '' })
  assert.deepEqual(placed.json.Regions, [
    { Region: 'iad', Count: 2, Concurrency: 1 },
    { Region: 'lhr', Count: 1, Concurrency: 1 },
  ])
  const prices = (await t.api('GET', '/api/v1/prices')).json.prices
  assert.equal(prices[0].kind, 'v4')
  assert.deepEqual(
    prices
      .slice(-2)
      .map((price: { kind: string; perMonth: string }) => [price.kind, price.perMonth]),
    [
      ['egress_v4', '3.60'],
      ['egress_v6', '0.00'],
    ],
  )
  assert.match((await t.api('GET', '/metrics')).text, /fairway_control_host_live\{host="iad1"/)
})

test('addresses, secrets and releases as deploy uses them', async () => {
  const ips = '/v1/apps/hello/ip_assignments'
  const body = { type: 'v6', region: '', org_slug: 'personal', network: '', service_name: '' }
  const v6 = await t.api('POST', ips, body)
  assert.equal(v6.json.shared, false)
  await t.api('POST', ips, { ...body, type: 'shared_v4' })
  const list = (await t.api('GET', ips)).json.ips
  assert.deepEqual(list.map((ip: { shared: boolean }) => ip.shared).sort(), [false, true])
  assert.equal((await t.api('DELETE', `${ips}/${v6.json.ip}`)).status, 200)

  const secrets = '/v1/apps/hello/secrets'
  const set = await t.api('POST', secrets, { values: { KEY: 'value' } })
  assert.equal(set.json.version, 1)
  const shown = await t.api('GET', `${secrets}?show_secrets=true`)
  assert.equal(shown.json.secrets[0].name, 'KEY')
  assert.ok(!shown.text.includes('value"'))

  const build = await t.api('POST', '/api/v1/builds', { app_name: 'hello', builder_type: 'remote' })
  assert.equal(build.status, 200)
  const finish = { app_name: 'hello', build_id: build.json.id, status: 'completed' }
  assert.equal((await t.api('POST', '/api/v1/builds/finish', finish)).status, 200)
  const created = await t.api('POST', '/api/v1/releases', {
    app_name: 'hello',
    build_id: build.json.id,
    definition: { app: 'hello' },
    image,
    strategy: 'ROLLING',
  })
  const { release } = created.json
  assert.equal(release.version, 1)
  const patched = await t.api('PATCH', `/api/v1/releases/${release.id}`, { status: 'complete' })
  assert.equal(patched.json.stable, true)
  const current = await t.api('GET', '/api/v1/apps/hello/releases/current')
  assert.equal(current.json.id, release.id)
  assert.equal((await t.api('GET', '/api/v1/apps/hello/releases?limit=5')).json.releases.length, 1)
  assert.ok((await t.api('GET', '/api/v1/releases/all_current')).json.hello)
  const org = await t.api('GET', '/api/v1/organizations/personal')
  assert.equal(org.json.organization.billing_status, 'CURRENT')
})

test('artifacts are verified, found and given back', async () => {
  const path = '/v1/apps/hello/artifacts'
  const digest = await t.upload('hello', 'some bytes')
  assert.equal((await t.api('HEAD', `${path}/${digest}`)).status, 200)
  assert.equal((await t.api('GET', `${path}/sha256:${digest}`)).text, 'some bytes')
  assert.equal((await t.api('HEAD', `${path}/${'0'.repeat(64)}`)).status, 404)
  const wrong = await t.api('POST', `${path}?digest=${digest}`, Buffer.from('other'), {
    'content-type': 'application/gzip',
  })
  assert.equal(wrong.status, 422)
  assert.match(wrong.json.error, /SHA-256/)
})

test('an artifact whose file is lost is asked for anew, and launches say so until then', async () => {
  const digest = await t.upload('hello', 'some bytes')
  const path = `/v1/apps/hello/artifacts/${digest}`
  rmSync(`${t.stateDir}/artifacts/${digest}`)
  assert.equal((await t.api('HEAD', path)).status, 404)
  const config = { image: `hello@sha256:${digest}` }
  const refused = await t.api('POST', MACHINES, { config })
  assert.equal(refused.json.status, 'image_not_found')
  await t.upload('hello', 'some bytes')
  assert.equal((await t.api('HEAD', path)).status, 200)
})

test('bad requests name the field', async () => {
  const answer = await t.api('POST', MACHINES, { config: { image }, lease_ttl: 'soon' })
  assert.equal(answer.status, 400)
  assert.match(answer.json.error, /lease_ttl/)
  const long = await t.api('POST', MACHINES, { config: { image }, lease_ttl: 86_401 })
  assert.equal(long.status, 400)
  assert.match(long.json.error, /body field lease_ttl: .*86400/)
  const broken = await t.api('POST', MACHINES, undefined, { 'content-type': 'application/json' })
  assert.match(broken.json.error, /body field config/)
  const region = await t.api('POST', MACHINES, { config: { image }, region: 'nrt' })
  assert.match(region.json.error, /could not reserve resource for machine/)
  assert.equal(region.json.status, 'insufficient_capacity')
})

test('logs of all hosts come in order of time, and are followed', async () => {
  const line = (host: string, second: number) => ({
    timestamp: `2126-01-01T00:00:0${second}.000Z`,
    app: 'forged',
    machine: 'm',
    region: 'iad',
    host,
    level: 'info',
    source: 'app',
    message: `${second}`,
  })
  const lhr1 = await t.agent('lhr1')
  iad1.onCall = () => [line('iad1', 1), line('iad1', 3), line('iad1', 5)]
  lhr1.onCall = () => [line('lhr1', 2), line('lhr1', 4)]
  const tail = await t.api('GET', '/api/v1/apps/hello/logs?tail=4')
  const lines = tail.text
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text))
  assert.deepEqual(
    lines.map((one) => [one.message, one.host, one.app]),
    [
      ['2', 'lhr1', 'hello'],
      ['3', 'iad1', 'hello'],
      ['4', 'lhr1', 'hello'],
      ['5', 'iad1', 'hello'],
    ],
  )
  const abort = new AbortController()
  const { apiPort } = t.control
  const token = readFileSync(`${t.stateDir}/token`, 'utf8').trim()
  const response = await fetch(
    `http://127.0.0.1:${apiPort}/api/v1/apps/hello/logs?tail=2&follow=true`,
    { headers: { authorization: `Bearer ${token}` }, signal: abort.signal },
  )
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let read = ''
  while (!read.includes('"message":"4"')) read += (await reader.read()).value ?? ''
  abort.abort()
  await pause(20)
})

test('ps asks the host of the machine', async () => {
  const { id } = await started()
  const row = (pid: number, rss: number) => ({
    ...{ pid, rss, stime: 0, rtime: 5, cpu: 1, command: `server ${pid}`, directory: '/app' },
    listen_sockets: [{ proto: 'tcp', address: '0.0.0.0:8080' }],
  })
  iad1.onCall = () => [[row(1, 10), row(7, 30), { pid: 'no process' }], row(8, 20)]
  const ps = async (query = '') =>
    (await t.api('GET', `${MACHINES}/${id}/ps${query}`)).json.map((one: { pid: number }) => one.pid)
  assert.deepEqual(await ps(), [1, 7, 8])
  assert.deepEqual(await ps('?sort_by=rss&order=desc'), [7, 8, 1])
  assert.deepEqual((await t.api('GET', `${MACHINES}/${id}/ps`)).json[0], row(1, 10))
  const wrong = await t.api('GET', `${MACHINES}/${id}/ps?sort_by=size`)
  assert.equal(wrong.status, 400)
  assert.match(wrong.json.error, /query field sort_by/)
})

test('deleting an app takes its machines away', async () => {
  await t.api('POST', '/v1/apps', { name: 'brief', org_slug: 'personal' })
  const digest = await t.upload('brief')
  const path = '/v1/apps/brief/machines'
  const input = { config: { image: `sha256:${digest}` }, region: 'iad' }
  const { json } = await t.api('POST', path, input)
  await t.api('GET', `${path}/${json.id}/wait?state=started&timeout=5`)
  assert.equal((await t.api('DELETE', '/v1/apps/brief')).status, 202)
  assert.equal((await t.api('GET', '/v1/apps/brief')).status, 404)
  assert.equal(iad1.machines.has(json.id), false)
})

test('a restart of the process serves everything from the store', async () => {
  const { id } = await started()
  await t.restart()
  const { json } = await t.api('GET', `${MACHINES}/${id}`)
  assert.equal(json.state, 'started')
})
