import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { type FakeApi, fakeMachine, Reply, runAgainst } from '../testing.ts'
import { json, ok, run } from '../testing-commands.ts'
import { fakeWorld } from '../testing-world.ts'

const keys = (value: object) => Object.keys(value)

const DEDICATED = {
  ip: '203.0.113.20',
  type: 'v4',
  region: 'global',
  shared: false,
  created_at: '',
}

let unset: string | undefined
before(() => {
  unset = process.env.NO_COLOR
  process.env.NO_COLOR = '1'
})
after(() => {
  if (unset === undefined) delete process.env.NO_COLOR
})

test('apps list', async () => {
  const { stdout } = await ok('apps list')
  assert.equal(
    stdout,
    'NAME   OWNER     STATUS    LATEST DEPLOY\nhello  personal  deployed  10s ago\n\n',
  )
  const [app] = await json('apps list')
  assert.deepEqual(
    [app.ID, app.Name, app.Organization.Slug, app.Deployed],
    ['app-1', 'hello', 'personal', true],
  )
  assert.equal((await ok('apps list -q')).stdout, 'hello\n')
  assert.match((await ok('apps list', { state: { app: undefined } })).stdout, /^No apps/)
})

test('apps create takes the personal org, and says when the name is taken', async () => {
  const { stdout, api } = await ok('apps create second')
  assert.equal(stdout, 'New app created: second\n')
  assert.deepEqual(api.requests.at(-1)?.body, {
    name: 'second',
    org_slug: 'personal',
    network: '',
    app_role_id: '',
  })
  const taken = await run('apps create hello')
  assert.deepEqual([taken.code, taken.stderr], [1, 'Error: Name has already been taken\n'])
  const org = await run('apps create x -o nowhere')
  assert.match(org.stderr, /Organization "nowhere" was not found. Yours: personal/)
})

test('apps destroy needs --yes without a terminal', async () => {
  const refused = await run('apps destroy hello')
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /Give --yes/)
  assert.deepEqual(refused.api.log, [])
  const { stdout, state } = await ok('apps destroy hello --yes')
  assert.deepEqual([stdout, state.app], ['Destroyed app hello\n', undefined])
})

test('status', async () => {
  const { stdout } = await ok('status')
  assert.match(
    stdout,
    /^App\n {2}Name {6}hello\n {2}Owner {5}personal\n {2}Hostname {2}hello.fairway.test\n/,
  )
  assert.match(
    stdout,
    /PROCESS {2}ID {2}VERSION {2}REGION {2}STATE {4}ROLE {2}CHECKS {7}LAST UPDATED/,
  )
  assert.match(stdout, /app {6}m1 {2}1 {8}iad {5}started {8}1\/1 passing/)
  assert.deepEqual(keys(await json('status')), [
    'ID',
    'Name',
    'Deployed',
    'Status',
    'Hostname',
    'Version',
    'AppURL',
    'Organization',
    'PlatformVersion',
    'Machines',
  ])
  const plain = fakeMachine('m2')
  const more = await ok('status', {
    state: { machines: [{ ...plain, config: { ...plain.config, metadata: {} } }] },
  })
  assert.match(more.stdout, /1 machine was not made by a deploy/)
})

test('ips list has prices, and a line when there is no dedicated IPv4', async () => {
  const { stdout } = await ok('ips list')
  assert.equal(
    stdout,
    `VERSION  IP             TYPE                        REGION  CREATED AT
v6       2001:db8:1::5  public ingress (dedicated)  global  10s ago
v4       203.0.113.1    public ingress (shared)

hello has no dedicated IPv4 address; IPv4 reaches it through the shared 203.0.113.1, by name: HTTP and TLS only. \`fairway ips allocate-v4\` ($2/mo) gives it one.
`,
  )
  const dedicated = await ok('ips list', { state: { ips: [DEDICATED] } })
  assert.match(dedicated.stdout, /v4 {7}203.0.113.20 {2}public ingress \(dedicated, \$2\/mo\)/)
  assert.doesNotMatch(dedicated.stdout, /no dedicated/)
  assert.match(
    (await ok('ips list', { state: { ips: [] } })).stdout,
    /nothing reaches it over IPv4/,
  )
  const list = await json('ips list')
  assert.deepEqual(keys(list[0]), [
    'ID',
    'Address',
    'Type',
    'Region',
    'CreatedAt',
    'ServiceName',
    'Network',
  ])
  assert.equal(list[1].Type, 'shared_v4')
})

test('ips allocate-v4 names the price and buys with --yes only', async () => {
  const refused = await run('ips allocate-v4')
  assert.equal(refused.code, 1)
  assert.equal(
    refused.stderr,
    'Error: A dedicated IPv4 address costs $2/mo. Allocate it for hello? Give --yes to do it without a prompt.\n',
  )
  assert.ok(!refused.api.log.includes('POST /graphql'))
  const bought = await ok('ips allocate-v4 --yes -r lhr')
  assert.match(bought.stderr, /costs \$2\/mo/)
  assert.match(
    bought.stdout,
    /203.0.113.20 {2}public ingress \(dedicated, \$2\/mo\) {2}global {2}just now/,
  )
  const { body } = bought.api.requests.find((r) => r.path === '/graphql')!
  assert.deepEqual((body as { variables: object }).variables, {
    input: { appId: 'hello', type: 'v4', region: 'lhr' },
  })
})

test('ips allocate-v4 --shared, allocate-v6, --private', async () => {
  assert.match(
    (await ok('ips allocate-v4 --shared')).stdout,
    /v4 {7}203.0.113.1 {2}shared {2}global/,
  )
  assert.match(
    (await ok('ips allocate-v6')).stdout,
    /2001:db8:1::9 {2}public ingress \(dedicated\)/,
  )
  const inner = await ok('ips allocate-v6 --private -o personal --network n1')
  assert.match(inner.stdout, /fdaa:0:1:0:1::2 {2}private ingress/)
  assert.deepEqual((inner.api.requests.at(-2)!.body as { variables: object }).variables, {
    input: {
      appId: 'hello',
      type: 'private_v6',
      organizationId: 'org-1',
      network: 'n1',
      region: '',
    },
  })
  assert.match((await run('ips allocate-v6 --network n1')).stderr, /add --private/)
})

test('ips allocate gives what the services need', async () => {
  const { stdout } = await ok('ips allocate', { state: { ips: [] } })
  assert.match(stdout, /203.0.113.1 {2}shared/)
  assert.match(stdout, /2001:db8:1::9/)
  assert.match((await ok('ips allocate')).stdout, /already has the addresses/)
  assert.match((await run('ips allocate', { state: { machines: [] } })).stderr, /has no machines/)
  const base = fakeMachine('m1')
  const services = [{ protocol: 'tcp' as const, internal_port: 1, ports: [{ port: 25 }] }]
  const raw = { machines: [{ ...base, config: { ...base.config, services } }] }
  assert.match((await run('ips allocate', { state: raw })).stderr, /\$2\/mo. It is for port 25/)
})

test('ips release, release-v4', async () => {
  const both = await ok('ips release 2001:db8:1:0::5')
  assert.equal(
    both.stdout,
    'Released 2001:db8:1::5 from hello\nhello is back on the shared IPv4 203.0.113.1\n',
  )
  const bad = await run('ips release 203.0.113.300')
  assert.match(bad.stderr, /^Error: Invalid IP address: '203.0.113.300'/)
  assert.equal(bad.api.requests.length, 0)
  const foreign = await run('ips release 203.0.113.99')
  assert.deepEqual([foreign.code, foreign.stderr], [1, 'Error: 203.0.113.99 is not of app hello\n'])
  const one = await ok('ips release-v4', { state: { ips: [DEDICATED] } })
  assert.match(one.stdout, /^Released 203.0.113.20/)
  assert.match((await run('ips release-v4')).stderr, /hello has no dedicated IPv4 address/)
})

test('ips detach-v4 and attach-v4', async () => {
  const detached = await ok('ips detach-v4 203.0.113.20')
  assert.match(detached.stdout, /^Detached 203.0.113.20 from hello; its organization keeps it/)
  assert.match(detached.stdout, /hello is back on the shared IPv4/)
  const attached = await ok('ips attach-v4 203.0.113.20')
  assert.match(attached.stdout, /^Attached 203.0.113.20 to hello \(before: second\)/)
  assert.match(attached.stderr, /second has no IPv4 now: its services/)
  assert.match(attached.stderr, /have not switched yet: nrt1/)
  const { EdgesWaiting } = await json('ips attach-v4 203.0.113.20')
  assert.deepEqual(EdgesWaiting, ['nrt1'])
  assert.match((await run('ips attach-v4')).stderr, /Name the address/)
})

test('ips private', async () => {
  assert.match((await ok('ips private')).stdout, /m1 {2}iad {5}fdaa:0:1:a7b:1:0:m1:2/)
  assert.deepEqual(await json('ips private'), ['fdaa:0:1:a7b:1:0:m1:2'])
})

test('machine list and status', async () => {
  const { stdout } = await ok('machine list')
  assert.match(stdout, /^1 machine of app hello\n/)
  assert.match(stdout, /ID {2}NAME {5}STATE {4}CHECKS {2}REGION {2}ROLE {2}IMAGE/)
  assert.match(stdout, /m1 {2}name-m1 {2}started {2}1\/1/)
  assert.deepEqual(
    (await json('m list')).map((m: { id: string }) => m.id),
    ['m1'],
  )
  const lost = { machines: [fakeMachine('m1', { host_status: 'unreachable' })] }
  assert.match((await ok('machines list', { state: lost })).stdout, /m1\* [\s\S]*does not report/)
  const status = await ok('machine status m1')
  for (const text of ['Private IP', 'node server.js', 'servicecheck-00-http-8080', 'Event Logs']) {
    assert.ok(status.stdout.includes(text), text)
  }
  const config = await ok('machine status m1 -d')
  assert.equal(JSON.parse(config.stdout).guest.cpus, 1)
})

test('machine start, stop, restart, cordon, kill', async () => {
  const started = await ok('machine start m1')
  assert.equal(started.stdout, 'Machine m1 is started\n')
  assert.deepEqual(started.api.log, [
    'POST /v1/apps/hello/machines/m1/lease',
    'POST /v1/apps/hello/machines/m1/start',
    'DELETE /v1/apps/hello/machines/m1/lease',
    'GET /v1/apps/hello/machines/m1/wait',
  ])
  assert.equal(started.api.requests[1]?.headers['fly-machine-lease-nonce'], 'n0nce')
  const stopped = await ok('machine stop m1 -s SIGTERM --timeout 5')
  assert.deepEqual(stopped.api.requests[1]?.body, { id: 'm1', signal: 'SIGTERM', timeout: '5s' })
  const suspended = await ok('machine suspend m1')
  assert.equal(suspended.stdout, 'Sent suspend to machine m1\n')
  assert.equal(suspended.api.log[1], 'POST /v1/apps/hello/machines/m1/suspend')
  assert.equal((await ok('machine restart m1 --force')).api.requests[1]?.query.force_stop, 'true')
  assert.equal(
    (await ok('machine cordon m1 m1')).stdout,
    'Machine m1 is cordoned\nMachine m1 is cordoned\n',
  )
  assert.deepEqual((await ok('machine kill m1')).api.requests[0]?.body, { signal: 9 })
})

test('machine commands find the app of a machine', async () => {
  const { api } = await fakeWorld()
  const found = await runAgainst(api, ['machine', 'stop', 'm1'])
  const lost = await runAgainst(api, ['machine', 'stop', 'm9'])
  await api.close()
  assert.equal(found.code, 0, found.stderr)
  assert.deepEqual([lost.code, lost.stderr], [1, 'Error: Could not find Machine\n'])
})

test('machine destroy refuses a running machine', async () => {
  const refused = await run('machine destroy m1')
  assert.match(refused.stderr, /Machine m1 is started. Stop it first .* or give --force/)
  const { api, state } = await ok('machine destroy m1 --force')
  assert.equal(api.requests.find((r) => r.method === 'DELETE')?.query.kill, 'true')
  assert.deepEqual(state.machines, [])
})

test('machine update changes what the flags name, with --yes', async () => {
  const line = 'machine update m1 -e A=b -p 443:8080/tcp:tls:http --vm-memory 1gb --autostop stop'
  assert.match((await run(line)).stderr, /Change env, guest, services of machine m1.*--yes/)
  const { state, stdout } = await ok(`${line} --yes`)
  assert.equal(stdout, 'Machine m1 updated\n')
  const { config } = state.machines[0]!
  assert.deepEqual([config.env, config.guest.memory_mb], [{ A: 'b' }, 1024])
  assert.deepEqual(config.services, [
    {
      protocol: 'tcp',
      internal_port: 8080,
      autostop: true,
      ports: [
        { port: 80, handlers: ['http'] },
        { port: 443, handlers: ['tls', 'http'] },
      ],
    },
  ])
  assert.match((await ok('machine update m1 -y')).stdout, /nothing changed/)
})

test('foreign images are a named error', async () => {
  const image = await run('machine run nginx:latest sh')
  assert.match(image.stderr, /"nginx:latest" is neither a folder nor an artifact/)
})

test('scale count', async () => {
  const up = await ok('scale count 3 --region iad,lhr,nrt')
  assert.equal(up.stdout, 'Scaled hello: created 2 machines\n')
  assert.deepEqual(
    up.state.machines.map((m) => m.region),
    ['iad', 'lhr', 'nrt'],
  )
  const three = { machines: ['m1', 'm2', 'm3'].map((id) => fakeMachine(id)) }
  assert.match((await run('scale count 1', { state: three })).stderr, /destroy 2 machines\?.*--yes/)
  const down = await ok('scale count app=1 --yes', { state: three })
  assert.equal(down.stdout, 'Scaled hello: destroyed 2 machines\n')
  assert.deepEqual(
    down.state.machines.map((m) => m.id),
    ['m1'],
  )
  assert.match((await ok('scale count 1')).stdout, /already has/)
  assert.match((await run('scale count many')).stderr, /"many" is not a count/)
  assert.match((await run('scale count worker=1')).stderr, /no process group "worker"/)
})

test('scale show', async () => {
  assert.match((await ok('scale show')).stdout, /app {3}1 {6}shared {2}1 {5}256 MB {2}iad/)
  assert.deepEqual((await json('scale show'))[0].Regions, { iad: 1 })
})

test('logs', async () => {
  const lines = [
    {
      timestamp: 't1',
      app: 'hello',
      machine: 'm1',
      region: 'iad',
      host: 'iad1',
      level: 'info',
      source: 'app',
      message: 'up\u001b[31m',
    },
    {
      timestamp: 't2',
      app: 'hello',
      machine: '',
      region: 'lhr',
      host: 'lhr1',
      level: 'error',
      source: 'proxy',
      message: 'no',
    },
  ]
  const api = (fake: FakeApi) => {
    fake.on('GET /api/v1/apps/hello/logs', () => lines.map((l) => JSON.stringify(l)).join('\n'))
  }
  const all = await ok('logs --no-tail -i m1', { api })
  assert.equal(all.stdout, 't1 app[m1] iad [info] up[31m\nt2 proxy[] lhr [error] no\n')
  assert.deepEqual(all.api.requests[0]?.query, { tail: '100', follow: 'false', machine: 'm1' })
  const followed = await ok('logs -r lhr --json', { api })
  assert.equal(followed.api.requests[0]?.query.follow, 'true')
  assert.deepEqual(keys(JSON.parse(followed.stdout)), [
    'level',
    'instance',
    'message',
    'region',
    'timestamp',
    'meta',
  ])
})

test('secrets', async () => {
  const set = await ok('secrets set A=1=2 B=-', { stdin: 'two\n' })
  assert.deepEqual(set.state.secrets, { A: '1=2', B: 'two' })
  assert.equal(set.stdout, 'Secrets are deployed to 1 machine of hello\n')
  assert.equal(set.state.releases[0]?.status, 'complete')
  assert.equal(set.state.machines[0]?.config.metadata?.fly_release_id, 'rel-1')
  const update = set.api.requests.find(
    (r) => r.path.endsWith('/machines/m1') && r.method === 'POST',
  )
  assert.equal((update!.body as { min_secrets_version: number }).min_secrets_version, 7)
  const staged = await ok('secrets set A=1 --stage')
  assert.equal(staged.api.requests.length, 1)
  const imported = await ok('secrets import --stage', { stdin: '# c\nA="x y"\nB="""\n1\n2\n"""\n' })
  assert.deepEqual(imported.state.secrets, { A: 'x y', B: '1\n2' })
  const state = { secrets: { A: '1' } }
  assert.match((await ok('secrets list', { state })).stdout, /A {5}d1g3st {2}Deployed {2}10s ago/)
  assert.deepEqual(await json('secrets list', state), [
    { name: 'A', digest: 'd1g3st', status: 'Deployed' },
  ])
  assert.deepEqual((await ok('secrets unset A --stage', { state })).state.secrets, {})
  const bad = await run('secrets set novalue')
  assert.match(bad.stderr, /"novalue" is not NAME=VALUE/)
})

test('releases, regions, orgs, whoami', async () => {
  assert.match((await ok('releases')).stdout, /v1 {7}complete {2}Release {6}operator@fairway.test/)
  assert.equal((await json('releases'))[0].Version, 1)
  for (const line of ['regions list', 'platform regions', 'regions']) {
    assert.match((await ok(line)).stdout, /London, United Kingdom {2}lhr {3}europe/)
  }
  assert.equal((await json('platform regions'))[0].code, 'iad')
  assert.match((await ok('orgs list')).stdout, /Personal {2}personal {2}PERSONAL/)
  assert.deepEqual(await json('orgs list'), { personal: 'Personal' })
  assert.match((await ok('orgs show personal')).stdout, /operator@fairway.test {2}ADMIN/)
  assert.equal((await ok('auth whoami')).stdout, 'operator@fairway.test\n')
  assert.deepEqual(await json('auth whoami'), { email: 'operator@fairway.test' })
  assert.equal((await ok('auth token')).stdout, 'fo1_test\n')
  assert.match((await ok('version')).stdout, /^fairway v\d+\.\d+\.\d+ linux\//)
})

test('config env and show read the release', async () => {
  assert.match((await ok('config env')).stdout, /Environment variables\nNAME {2}VALUE\nA {5}b\n/)
  assert.equal((await json('config show')).app, 'hello')
})

test('errors: what happened, and the way out', async () => {
  const wrong = await run('statsu')
  assert.equal(wrong.code, 1)
  assert.match(wrong.stderr, /Error: unknown command 'statsu'\n\(Did you mean status\?\)/)
  const flag = await run('status --jsno')
  assert.match(flag.stderr, /Error: unknown option '--jsno'\n\(Did you mean --json\?\)/)
  const { api } = await fakeWorld()
  const noApp = await runAgainst(api, ['status'])
  assert.match(noApp.stderr, /No app named. Give -a NAME, set FLY_APP/)
  const token = await runAgainst(api, ['status', '-a', 'hello', '-t', 'wrong'])
  await api.close()
  assert.match(token.stderr, /^Error: unauthorized The token is from --access-token/)
  const broken = await run('machine list', {
    api: (fake) => fake.on('GET /v1/apps/hello/machines', () => new Reply(500, { error: 'boom' })),
  })
  assert.equal(broken.code, 1)
  // A slow machine is told what it waits for.
  assert.match(broken.stderr, /^(Reading the machines \.\.\.\n)?Error: boom\n\(request req-1\)\n$/)
  const gone = await run('ips list', { state: { app: undefined } })
  assert.match(gone.stderr, /^Error: Could not find App "hello". `fairway apps list` shows/)
  const nothing = await runAgainst(undefined, ['status', '-a', 'x'])
  assert.match(nothing.stderr, /Run `npm run up` first/)
  assert.equal((await run('--help')).code, 0)
})
