import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type ApiMachine, isProvisional } from './api-types.ts'
import { canarySteps } from './canary.ts'
import { type FakeApi, fakeMachine, Reply, runAgainst } from './testing.ts'
import { created, withJobs } from './testing-jobs.ts'
import { type FakeState, fakeWorld } from './testing-world.ts'

/** Canaries, machine checks and `min_machines_running`. */

const HELLO = `
app = "hello"
primary_region = "iad"
[processes]
app = "node server.js"
[http_service]
internal_port = 8080
processes = ["app"]
auto_stop_machines = "stop"
min_machines_running = 2
`
const CHECKED = `${HELLO}[[http_service.machine_checks]]\ncommand = ["node", "check.js"]\n`
const TEST_GROUP = 'fly_app_test_machine_command'

interface Options {
  readonly toml?: string
  readonly args?: readonly string[]
  readonly machines: readonly ApiMachine[]
  readonly folder?: (path: string) => void
  readonly api?: (api: FakeApi, state: FakeState) => void
}

async function deploy({ toml = HELLO, args = [], machines, folder: fill, api: prepare }: Options) {
  const folder = mkdtempSync(join(tmpdir(), 'fairway-deploy-'))
  const { api, state } = await fakeWorld({ machines: [...machines] })
  prepare?.(api, state)
  try {
    fill?.(folder)
    writeFileSync(join(folder, 'fly.toml'), toml)
    const result = await runAgainst(api, ['deploy', ...args], { cwd: folder })
    return { ...result, api, state }
  } finally {
    await api.close()
    rmSync(folder, { recursive: true })
  }
}

/** Another command against an app that has these machines. */
async function run(machines: readonly ApiMachine[], ...args: readonly string[]) {
  const { api, state } = await fakeWorld({ machines: [...machines] })
  try {
    return { ...(await runAgainst(api, [...args, '-a', 'hello'])), state }
  } finally {
    await api.close()
  }
}

/** A machine of the release before. */
const former = (id: string, more: Partial<ApiMachine> = {}): ApiMachine => {
  const machine = fakeMachine(id, more)
  const metadata = { ...machine.config.metadata, fly_release_id: 'rel-0' }
  return { ...machine, config: { ...machine.config, metadata } }
}

const jobs =
  (code: number, lines: readonly string[] = []) =>
  (api: FakeApi, state: FakeState) =>
    withJobs(api, state, { code, lines })
const at = (api: FakeApi, line: RegExp) => api.log.findIndex((one) => line.test(one))
const groupOf = (machine: { config: ApiMachine['config'] }) =>
  machine.config.metadata?.fly_process_group

test('rolling: each machine that was changed is checked by one of its own, at its address', async () => {
  const machines = [former('m1'), former('m2'), former('m3', { state: 'stopped' })]
  const { code, stderr, api, state } = await deploy({
    ...{ toml: CHECKED, machines, args: ['--max-unavailable', '1'] },
    api: jobs(0),
  })
  assert.equal(code, 0, stderr)
  const checks = created(api)
  assert.deepEqual(
    checks.map(({ config }) => config.env?.FLY_TEST_MACHINE_IP),
    ['m1', 'm2'].map((id) => fakeMachine(id).private_ip),
  )
  assert.deepEqual([...new Set(checks.map(groupOf))], [TEST_GROUP])
  assert.match(stderr, /Machine m1 passes its machine checks\n(.*\n)*Updated machine m2/)
  assert.deepEqual(state.machines.map(({ id }) => id).sort(), ['m1', 'm2', 'm3'])
})

test('rolling: a check that fails shows what it printed, and puts back what was changed', async () => {
  const machines = [former('m1'), former('m2')]
  const { code, stderr, api, state } = await deploy({
    ...{ toml: CHECKED, machines, args: ['--max-unavailable', '1'] },
    api: jobs(3, ['asked for /', 'it says no']),
  })
  assert.equal(code, 1)
  const error =
    /check "node check.js" of machine m1 \(iad, app\) failed with exit code 3. What it pr/
  assert.match(stderr, error)
  assert.match(stderr, /:\n {2}asked for \/\n {2}it says no\n/)
  assert.deepEqual(state.machines, [{ ...machines[0], instance_id: 'next-m1' }, machines[1]])
  assert.ok(at(api, /POST .*machines\/m2$/) < 0, 'the next one is never touched')
  assert.equal(state.releases[0]?.status, 'failed')
})

test('a check that does not end is stopped at the time-out', async () => {
  const { code, stderr, state } = await deploy({
    ...{ toml: CHECKED, machines: [former('m1')], args: ['--wait-timeout', '1s'] },
    api: (api, s) => {
      withJobs(api, s, { code: 0, lines: ['looking'], hangs: true })
      api.on('GET /v1/apps/hello/machines/n2/wait', async () => {
        await new Promise((done) => setTimeout(done, 20))
        return new Reply(408, { error: 'deadline_exceeded' })
      })
    },
  })
  assert.equal(code, 126, stderr)
  assert.match(
    stderr,
    /"node check.js" of machine m1 .* did not end within 1 s \(--wait-timeout\). What it printed:\n {2}looking/,
  )
  assert.deepEqual(
    state.machines.map(({ id }) => id),
    ['m1'],
  )
})

test('a check may run another folder; other strategies and --detach say that they run none', async () => {
  const toml = `${HELLO}[[machine_checks]]\nimage = "./checks"\ncommand = ["node", "check.js"]\n`
  const folder = (path: string) => {
    mkdirSync(join(path, 'checks'))
    writeFileSync(join(path, 'checks', 'check.js'), '1')
  }
  const { api, state, code, stderr } = await deploy({
    ...{ toml, folder, machines: [former('m1')] },
    api: jobs(0),
  })
  assert.equal(code, 0, stderr)
  assert.notEqual(created(api)[0]?.config.image, state.machines[0]?.config.image)
  const machines = [former('m1')]
  const foreign = CHECKED.replace('command', 'image = "curlimages/curl"\ncommand')
  const refused = await deploy({ toml: foreign, machines })
  assert.match(refused.stderr, /"curlimages\/curl" is neither a folder nor an artifact/)
  assert.deepEqual(refused.state.releases, [])
  for (const [args, text] of [
    [['--detach'], /--detach waits for nothing, so that no machine check runs/],
    [['--strategy', 'immediate'], /"immediate" runs no machine checks/],
  ] as const) {
    const other = await deploy({ toml: CHECKED, args, machines })
    assert.match(other.stderr, text)
    assert.deepEqual(created(other.api), [])
  }
})

const CANARY = ['--strategy', 'canary']

test('canary: one new machine first, checked, then in the rotation until the others have changed', async () => {
  const machines = [former('m1'), former('m2', { region: 'lhr' })]
  const { code, stderr, api, state } = await deploy({
    ...{ toml: CHECKED, args: CANARY, machines },
    api: jobs(0),
  })
  assert.equal(code, 0, stderr)
  const [canary, first] = api.requests
    .filter(({ method, path }) => method === 'POST' && /\/machines$/.test(path))
    .map(({ body }) => body as { region: string; skip_service_registration?: boolean } & ApiMachine)
  assert.equal(canary?.skip_service_registration, true)
  assert.equal(canary?.config.metadata?.fly_canary, 'true')
  assert.equal(groupOf(first!), TEST_GROUP)
  const order = [
    /POST .*n3\/uncordon/,
    /POST .*machines\/m1$/,
    /POST .*machines\/m2$/,
    /n3\/cordon/,
  ]
  const places = order.map((line) => at(api, line))
  assert.ok(places[0]! > 0, api.log.join('\n'))
  assert.deepEqual(
    [...places].sort((a, b) => a - b),
    places,
  )
  assert.ok(at(api, /DELETE .*n3$/) > places[3]!)
  assert.deepEqual(
    state.machines.map(({ id, config }) => [
      id,
      config.metadata?.fly_release_id,
      'fly_canary' in config.metadata!,
    ]),
    [
      ['m1', 'rel-1', false],
      ['m2', 'rel-1', false],
    ],
  )
})

test('canary: one that fails its check is destroyed, and nothing of the old release is touched', async () => {
  const machines = [former('m1'), former('m2')]
  const { code, stderr, api, state } = await deploy({
    ...{ toml: CHECKED, args: CANARY, machines },
    api: jobs(1, ['no']),
  })
  assert.equal(code, 1)
  assert.match(stderr, /The machine check "node check.js" of machine n3 .*\n {2}no\n/)
  assert.match(stderr, /Destroying the new machines \(1\); the old ones serve on/)
  assert.deepEqual(state.machines, machines)
  assert.ok(at(api, /machines\/m\d/) < 0, api.log.join('\n'))
})

test('canary: when the rest fails the former release comes back and the canary goes', async () => {
  const machines = [former('m1'), former('m2')]
  const { code, state } = await deploy({
    ...{ args: CANARY, machines },
    api: (api) =>
      api.on('POST /v1/apps/hello/machines/m2', () => new Reply(422, { error: 'no room' })),
  })
  assert.equal(code, 1)
  assert.deepEqual(
    state.machines.map(({ id, config }) => [id, config.metadata?.fly_release_id]),
    [
      ['m1', 'rel-0'],
      ['m2', 'rel-0'],
    ],
  )
})

test('canary: a group has one, a copy of a machine that runs; what a killed deploy left is destroyed', async () => {
  const update = (machine: ApiMachine) => ({
    ...{ kind: 'update' as const, machine, config: machine.config },
  })
  const worker = former('w1', { state: 'stopped' })
  const steps = [
    update(former('m1', { state: 'stopped' })),
    update(former('m2')),
    update({
      ...worker,
      config: {
        ...worker.config,
        metadata: { ...worker.config.metadata, fly_process_group: 'worker' },
      },
    }),
  ]
  assert.deepEqual(
    canarySteps(steps).map(({ machine }) => machine.id),
    ['m2', 'w1'],
  )
  const left = former('m2')
  const metadata = { ...left.config.metadata, fly_canary: 'true' }
  const machines = [
    former('m1'),
    { ...left, created_at: '9', config: { ...left.config, metadata } },
  ]
  const scaled = await run(machines, 'scale', 'count', '3', '-r', 'iad', '--yes')
  assert.deepEqual(
    scaled.state.machines.map((machine) => isProvisional(machine)),
    [false, true, false],
    'what marks it does not spread',
  )
  const { state } = await deploy({ args: CANARY, machines })
  assert.deepEqual(
    state.machines.map(({ id }) => id),
    ['m1'],
  )
})

test('a deploy starts as many machines of the primary region as min_machines_running asks for', async () => {
  const machines = [
    former('m1'),
    former('m2', { state: 'stopped' }),
    former('m3', { state: 'stopped' }),
    former('m4', { state: 'stopped', region: 'lhr' }),
  ]
  const { api, stderr } = await deploy({ machines })
  const launched = api.requests
    .filter(({ method, path }) => method === 'POST' && /machines\/m\d$/.test(path))
    .map(({ path, body }) => [path.at(-1), !(body as { skip_launch?: boolean }).skip_launch])
  assert.deepEqual(launched.sort(), [
    ['1', true],
    ['2', true],
    ['3', false],
    ['4', false],
  ])
  assert.doesNotMatch(stderr, /min_machines_running/)
  const few = await deploy({ machines: [former('m1')] })
  assert.match(
    few.stderr,
    /Warning: 1 machine of group app in iad started, while min_machines_running is 2/,
  )
  const off = HELLO.replace('"stop"', '"off"')
  const inert = await deploy({ toml: off, machines: [former('m1', { state: 'stopped' })] })
  assert.doesNotMatch(inert.stderr, /min_machines_running/)
  assert.match(inert.stderr, /Updated machine m1 \(iad\); it stays stopped/)
})

test('stop and scale below min_machines_running say so', async () => {
  const service = {
    ...{ protocol: 'tcp' as const, internal_port: 8080, autostop: 'stop' as const },
    min_machines_running: 2,
  }
  const counted = (id: string, region = 'iad') => {
    const machine = former(id, { region })
    const env = { PRIMARY_REGION: 'iad' }
    return { ...machine, config: { ...machine.config, env, services: [service] } }
  }
  const three = [counted('m1'), counted('m2'), counted('m3', 'lhr')]
  const below = await run(three, 'machine', 'stop', 'm1')
  assert.equal(below.code, 0, below.stderr)
  assert.match(below.stderr, /Warning: 1 machine of group app in iad started, while .* is 2/)
  assert.equal(below.state.machines[0]?.state, 'stopped')
  assert.equal((await run(three, 'machine', 'stop', 'm3')).stderr, '')
  const scaled = await run(three, 'scale', 'count', '1', '-r', 'iad', '--yes')
  assert.match(scaled.stderr, /Warning: 1 machine of group app in iad started/)
})
