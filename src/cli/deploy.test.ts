import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FakeApi, fakeMachine, Reply, runAgainst } from './testing.ts'
import { deployFolder } from './testing-deploys.ts'
import type { FakeState } from './testing-world.ts'

const HELLO = `
app = "hello"
[processes]
  app = "node server.js"
[http_service]
  internal_port = 8080
  processes = ["app"]
`

interface Options {
  readonly state?: Partial<FakeState>
  readonly args?: readonly string[]
  readonly files?: Readonly<Record<string, string>>
  readonly api?: (api: FakeApi, state: FakeState) => void
  readonly signal?: AbortSignal
}

function deploy(
  toml: string,
  { state: initial, args = [], files = {}, api: prepare, signal }: Options = {},
) {
  const all = { 'fly.toml': toml, 'server.js': '// hello', ...files }
  return deployFolder({ files: all, initial, args, api: prepare, signal })
}

const fresh = (): Partial<FakeState> => ({ app: undefined, machines: [], ips: [] })

test('a first deploy makes the app, its addresses and one machine', async () => {
  const { code, stdout, stderr, state, api } = await deploy(HELLO, { state: fresh() })
  assert.equal(code, 0, stderr)
  assert.match(
    stdout,
    /^Deployed hello v1\n {2}2001:db8:1::9\n {2}203.0.113.1 \(shared\)\n {2}http:\/\/hello.fairway.test\/\n$/,
  )
  assert.match(stderr, /Created app hello in organization personal/)
  assert.match(stderr, /Uploaded the folder \(2 entries, \d+ B\)/)
  assert.match(stderr, /Allocated v6 2001:db8:1::9\nAllocated shared_v4 203.0.113.1/)
  assert.match(stderr, /Machine n1 is up/)
  assert.equal(state.releases[0]?.status, 'complete')
  const [machine] = state.machines
  const [digest] = state.artifacts
  assert.equal(machine?.config.image, `registry.fairway.test/hello@${digest}`)
  assert.deepEqual(machine?.config.init?.cmd, ['node', 'server.js'])
  assert.equal(machine?.config.metadata?.fly_release_id, 'rel-1')
  const definition = state.releases[0]?.body.definition as { app: string; http_service: object }
  assert.deepEqual(definition.http_service, { internal_port: 8080, processes: ['app'] })
  assert.deepEqual(
    api.log.filter((line) => !line.includes('graphql')),
    [
      'GET /v1/apps/hello',
      'POST /v1/apps',
      'GET /v1/apps/hello',
      `HEAD /v1/apps/hello/artifacts/${digest}`,
      'POST /v1/apps/hello/artifacts',
      'GET /v1/apps/hello/machines',
      'GET /v1/apps/hello/ip_assignments',
      'GET /v1/platform/regions',
      'GET /api/v1/apps/hello/egress_ips',
      'POST /api/v1/releases',
      'PATCH /api/v1/releases/rel-1',
      'POST /v1/apps/hello/ip_assignments',
      'POST /v1/apps/hello/ip_assignments',
      'GET /v1/apps/hello/machines',
      'POST /v1/apps/hello/machines',
      'GET /v1/apps/hello/machines/n1/wait',
      'GET /v1/apps/hello/machines/n1',
      'PATCH /api/v1/releases/rel-1',
      'GET /v1/apps/hello/ip_assignments',
      'GET /v1/apps/hello/machines',
      'GET /v1/apps/hello/machines/n1/ps',
    ],
  )
})

test('the next deploy updates each machine under its lease and skips a known upload', async () => {
  const first = await deploy(HELLO, { state: fresh() })
  const { code, stderr, api, state } = await deploy(HELLO, {
    state: {
      artifacts: first.state.artifacts,
      machines: [fakeMachine('m1'), fakeMachine('m2', { state: 'stopped', region: 'lhr' })],
    },
  })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /already uploaded/)
  assert.match(stderr, /Updated machine m2 \(lhr\); it stays stopped/)
  assert.ok(!api.log.includes('POST /v1/apps/hello/artifacts'))
  assert.ok(!api.log.some((line) => line.includes('m2/wait')))
  const updates = api.requests.filter((r) => r.method === 'POST' && /machines\/m\d$/.test(r.path))
  assert.deepEqual(
    updates.map((r) => [
      r.headers['fly-machine-lease-nonce'],
      (r.body as { skip_launch: boolean }).skip_launch,
    ]),
    [
      ['n0nce', false],
      ['n0nce', true],
    ],
  )
  assert.equal(state.machines[0]?.config.metadata?.fly_release_version, '1')
})

test('--only-machines changes these alone, and makes and destroys none', async () => {
  const machines = [fakeMachine('m1'), fakeMachine('m2'), fakeMachine('m3')]
  const args = ['--only-machines', 'm1,m3']
  const { code, stderr, api } = await deploy(HELLO, { state: { machines }, args })
  assert.equal(code, 0, stderr)
  const changed = api.log.filter((line) => /^(POST|DELETE) .*\/machines(\/m\d)?$/.test(line))
  assert.deepEqual(changed, ['POST /v1/apps/hello/machines/m1', 'POST /v1/apps/hello/machines/m3'])
  for (const [flags, text] of [
    [['--only-machines', 'm9'], /"m9" is no machine of hello. Use some of m1, m2, m3/],
    [['--only-machines', 'm1', '--strategy', 'bluegreen'], /check|--only-machines/],
  ] as const) {
    const wrong = await deploy(HELLO, { state: { machines }, args: flags })
    assert.equal(wrong.code, 1)
    assert.match(wrong.stderr, text)
    assert.deepEqual(wrong.state.releases, [])
  }
})

test('groups: new ones are created, gone ones destroyed; --ha makes two', async () => {
  const old = fakeMachine('m1')
  const gone = { ...old.config, metadata: { ...old.config.metadata, fly_process_group: 'old' } }
  const toml = `
app = "hello"
[processes]
  web = "node server.js"
  worker = "node worker.js"
[http_service]
  internal_port = 1
  processes = ["web"]
`
  const { state, stderr } = await deploy(toml, {
    state: { machines: [{ ...old, config: gone }] },
    args: ['--ha', '-r', 'lhr', '-e', 'A=b'],
  })
  assert.match(stderr, /Destroyed machine m1/)
  assert.deepEqual(
    state.machines.map((m) => [m.config.metadata?.fly_process_group, m.region, m.config.env?.A]),
    [
      ['web', 'lhr', 'b'],
      ['web', 'lhr', 'b'],
      ['worker', 'lhr', 'b'],
    ],
  )
  assert.equal(state.machines[0]?.config.env?.PRIMARY_REGION, 'lhr')
})

test('a service that needs its own IPv4 says what it costs and needs --yes', async () => {
  const toml = `
app = "hello"
[processes]
app = "x"
[[services]]
internal_port = 25
processes = ["app"]
[[services.ports]]
port = 25
`
  const refused = await deploy(toml, { state: fresh() })
  assert.equal(refused.code, 1)
  assert.match(
    refused.stderr,
    /costs \$2\/mo. It is needed for port 25 with no handlers.*--no-public-ips/,
  )
  assert.deepEqual(refused.state.ips, [])
  const bought = await deploy(toml, { state: fresh(), args: ['--yes'] })
  assert.deepEqual(
    bought.state.ips.map((ip) => ip.type),
    ['v6', 'v4'],
  )
  const none = await deploy(toml, { state: fresh(), args: ['--no-public-ips'] })
  assert.deepEqual([none.code, none.state.ips], [0, []])
  const inner = await deploy(toml, { state: fresh(), args: ['--flycast'] })
  assert.deepEqual(
    inner.state.ips.map((ip) => ip.type),
    ['private_v6'],
  )
})

test('an address that cannot be had is a warning', async () => {
  const { code, stderr } = await deploy(HELLO, {
    state: fresh(),
    api: (api) =>
      api.on('POST /v1/apps/hello/ip_assignments', () => new Reply(422, { error: 'pool is full' })),
  })
  assert.equal(code, 0)
  assert.match(stderr, /Warning: no v6 address: pool is full/)
})

test('what is wrong in fly.toml stops the deploy before anything is sent', async () => {
  const { code, stderr, api } = await deploy(
    'app = "hello"\n[build]\nimage = "nginx"\n[http_service]\n',
  )
  assert.equal(code, 1)
  assert.equal(
    stderr,
    `Error: fly.toml:4: http_service.internal_port: is missing. Add internal_port = 8080, the port on 0.0.0.0 that the app listens on.
fly.toml: build: images are not built or pulled yet (image). Remove [build] and give the command in [processes]: the folder of fly.toml is deployed as it is.
`,
  )
  assert.deepEqual(api.log, [])
  assert.match((await deploy('app = "hello"')).stderr, /No command for process group "app"/)
  const nowhere = await runAgainst(undefined, ['deploy'])
  assert.match(nowhere.stderr, /No fly.toml here/)
})

test('a Procfile gives the command, and the release remembers it', async () => {
  const files = { Procfile: 'web: node server.js $PORT\n' }
  const { state, stderr } = await deploy('app = "hello"', { state: fresh(), files })
  assert.deepEqual(
    state.machines[0]?.config.init?.cmd,
    ['/bin/sh', '-c', 'node server.js $PORT'],
    stderr,
  )
  const definition = state.releases[0]?.body.definition as { experimental: { cmd: string[] } }
  assert.equal(definition.experimental.cmd[2], 'node server.js $PORT')
})

test('a machine that crashes fails the release and says where to look', async () => {
  const exit = {
    exit_code: 3,
    guest_exit_code: 3,
    guest_signal: -1,
    oom_killed: false,
    requested_stop: false,
    restarting: false,
    signal: -1,
    exited_at: 'now',
  }
  const { code, stderr, state } = await deploy(HELLO, {
    state: fresh(),
    api: (api) =>
      api.on('GET /v1/apps/hello/machines/n1', () =>
        fakeMachine('n1', {
          state: 'stopped',
          events: [
            {
              id: 'e',
              type: 'exit',
              status: 'stopped',
              source: 'flyd',
              timestamp: 1,
              request: { exit_event: exit },
            },
          ],
        }),
      ),
  })
  assert.equal(code, 1)
  assert.match(stderr, /Machine n1 exited with code 3. See `fairway logs -i n1 --no-tail`/)
  assert.equal(state.releases[0]?.status, 'failed')
})

test('a machine that takes too long ends with code 126', async () => {
  const { code, stderr, state } = await deploy(HELLO, {
    state: fresh(),
    args: ['--wait-timeout', '0s'],
  })
  assert.equal(code, 1, stderr)
  const late = await deploy(HELLO, {
    state: fresh(),
    args: ['--wait-timeout', '2s'],
    api: (api) => {
      api.on('GET /v1/apps/hello/machines/n1/wait', () => new Reply(503, { error: 'busy' }))
    },
  })
  assert.notEqual(late.code, 0)
  const checks = await deploy(`${HELLO}[[http_service.checks]]\npath = "/"\n`, {
    state: fresh(),
    args: ['--wait-timeout', '2s'],
    api: (api, world) =>
      api.on('GET /v1/apps/hello/machines/n1', () => ({
        ...world.machines[0],
        checks: [{ name: 'http', status: 'critical', output: 'refused', updated_at: '' }],
      })),
  })
  assert.equal(checks.code, 126)
  assert.match(checks.stderr, /checks do not pass after 2 s \(http: refused\)/)
  assert.equal(state.releases.length, 0)
})

test('an interrupt ends with code 127; the release is marked and the lease given back', async () => {
  const interrupt = new AbortController()
  const { code, stderr, state, api } = await deploy(HELLO, {
    signal: interrupt.signal,
    api: (fake) =>
      fake.on('GET /v1/apps/hello/machines/m1/wait', () => {
        interrupt.abort()
        return new Promise((done) => setTimeout(done, 50))
      }),
  })
  assert.equal(code, 127)
  assert.match(stderr, /Error: Cancelled\.\n$/)
  assert.equal(state.releases[0]?.status, 'interrupted')
  assert.ok(api.log.includes('DELETE /v1/apps/hello/machines/m1/lease'))
})

test('--image runs an earlier artifact; images of a registry are a named error', async () => {
  const image = `registry.fairway.test/hello@sha256:${'b'.repeat(64)}`
  const again = await deploy(HELLO, { args: ['-i', image] })
  assert.equal(again.state.machines[0]?.config.image, image)
  const foreign = await deploy(HELLO, { args: ['--image', 'nginx:1.27'] })
  assert.match(foreign.stderr, /"nginx:1.27" is neither a folder nor an artifact/)
})

test('an app that listens on loopback only is told so', async () => {
  const { stderr } = await deploy(HELLO, {
    state: fresh(),
    api: (api) =>
      api.on('GET /v1/apps/hello/machines/n1/ps', () => [
        { command: 'node', listen_sockets: [{ proto: 'tcp', address: '127.0.0.1:8080' }] },
      ]),
  })
  assert.match(
    stderr,
    /WARNING: the app does not listen on 0.0.0.0:8080.*listens on: 127.0.0.1:8080/,
  )
})

test('--detach and --strategy immediate do not wait; other strategies are named errors', async () => {
  for (const args of [['--detach'], ['--strategy', 'immediate']]) {
    const { code, api } = await deploy(HELLO, { args })
    assert.equal(code, 0)
    assert.ok(!api.log.some((line) => line.endsWith('/wait')))
  }
  const other = await deploy(HELLO, { args: ['--strategy', 'yolo'] })
  assert.match(other.stderr, /"yolo" is not there. Use --strategy rolling, canary, bluegreen, imm/)
  const canary = await deploy(HELLO, { args: ['--strategy', 'canary', '--detach'] })
  assert.match(canary.stderr, /A canary deploy has to wait for the new machines/)
  assert.equal((await deploy(HELLO, { args: ['--ha=false', '--json'] })).code, 0)
})
