import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MachineConfig } from '../model/machine-config.ts'
import type { ApiMachine } from './api-types.ts'
import { batches } from './rolling.ts'
import { type FakeApi, fakeMachine, Reply } from './testing.ts'
import { deploy, former, HELLO } from './testing-deploys.ts'
import { created, exitedWith, withJobs } from './testing-jobs.ts'
import type { FakeState } from './testing-world.ts'

/** What deploys promise beyond new machines: release commands, going back, blue and green. */

const RELEASE = `${HELLO}[deploy]\nrelease_command = "node migrate.js --now"\n`

const versions = (state: FakeState) =>
  state.machines.map((m) => [m.id, m.config.metadata?.fly_release_id])
const BEFORE = [
  ['m1', 'rel-1'],
  ['m2', 'rel-1'],
]
test('a release command runs first, in a machine of its own, and its log is shown', async () => {
  const { code, stderr, state, api } = await deploy({
    toml: RELEASE,
    api: (a, s) => withJobs(a, s, { code: 0, lines: ['adding a table'] }),
  })
  assert.equal(code, 0, stderr)
  const [job] = created(api)
  assert.equal(job?.region, 'lhr')
  assert.deepEqual(job?.config.init, { cmd: ['node', 'migrate.js', '--now'] })
  assert.equal(job?.config.env?.RELEASE_COMMAND, '1')
  assert.match(stderr, /Running the release command: node migrate.js --now\n/)
  assert.match(stderr, /\n {2}adding a table\n/)
  const ends = api.log.findIndex((line) => line.endsWith('n3/wait'))
  const updates = api.log.indexOf('POST /v1/apps/hello/machines/m1')
  assert.ok(ends >= 0 && ends < updates, 'before anything else changes')
  assert.deepEqual(versions(state), BEFORE)
  const skipped = await deploy({ toml: RELEASE, args: ['--skip-release-command'] })
  assert.deepEqual(created(skipped.api), [])
})

test('a release command that fails changes nothing; code and last lines are in the error', async () => {
  const machines = [former('m1'), former('m2')]
  const lines = Array.from({ length: 12 }, (_, i) => `step ${i}`)
  const { code, stderr, state } = await deploy({
    ...{ toml: RELEASE, machines },
    api: (a, s) => withJobs(a, s, { code: 3, lines }),
  })
  assert.equal(code, 1)
  assert.match(stderr, /Error: The release command failed with exit code 3; nothing else was/)
  assert.match(stderr, /Its last lines:\n {2}step 2\n(.*\n){8} {2}step 11\n$/)
  assert.deepEqual(state.machines, machines)
  assert.equal(state.releases[0]?.status, 'failed')
})

test('a release command that hangs is stopped and destroyed at its time-out', async () => {
  const machines = [former('m1')]
  const { code, stderr, state, api } = await deploy({
    ...{ toml: RELEASE, machines, args: ['--release-command-timeout', '1s'] },
    api: (a, s) => {
      withJobs(a, s, { code: 0, lines: [], hangs: true })
      a.on('GET /v1/apps/hello/machines/n2/wait', async () => {
        await new Promise((done) => setTimeout(done, 20))
        return new Reply(408, { error: 'deadline_exceeded' })
      })
    },
  })
  assert.equal(code, 126, stderr)
  assert.match(stderr, /Machine n2 was still running after 1 s/)
  assert.ok(api.log.includes('POST /v1/apps/hello/machines/n2/stop'))
  assert.deepEqual(state.machines, machines)
})

test('an interrupt during the release command stops and destroys its machine', async () => {
  const interrupt = new AbortController()
  const machines = [former('m1')]
  const { code, state, api } = await deploy({
    ...{ toml: RELEASE, machines, signal: interrupt.signal },
    api: (a, s) => {
      withJobs(a, s, { code: 0, lines: [], hangs: true })
      a.on('GET /v1/apps/hello/machines/n2/wait', async () => {
        interrupt.abort()
        await new Promise((done) => setTimeout(done, 20))
        return new Reply(408, { error: '' })
      })
    },
  })
  assert.equal(code, 127)
  assert.ok(api.log.includes('POST /v1/apps/hello/machines/n2/stop'))
  assert.deepEqual(state.machines, machines)
  assert.equal(state.releases[0]?.status, 'interrupted')
})

test('an interrupt while the machine of the release command is made destroys it', async () => {
  const interrupt = new AbortController()
  const machines = [former('m1')]
  const { code, state, api } = await deploy({
    ...{ toml: RELEASE, machines, signal: interrupt.signal },
    api: (a, s) => {
      withJobs(a, s, { code: 0, lines: [] })
      a.on('POST /v1/apps/hello/machines', async ({ body }) => {
        const made = fakeMachine('n2', { ...(body as { config: MachineConfig }), state: 'created' })
        s.machines.push(made)
        interrupt.abort()
        await new Promise((done) => setTimeout(done, 20))
        return made
      })
    },
  })
  assert.equal(code, 127)
  assert.ok(!api.log.includes('POST /v1/apps/hello/machines/n2/start'))
  assert.deepEqual(state.machines, machines)
  assert.equal(state.releases[0]?.status, 'interrupted')
})

test('batches: a part rounds up, a number is one, groups come one after the other', () => {
  const config = fakeMachine('m').config
  const update = (id: string, group: string) => ({
    ...{ kind: 'update' as const, config },
    machine: fakeMachine(id, {
      config: { ...config, metadata: { ...config.metadata, fly_process_group: group } },
    }),
  })
  const steps = [
    ...['a1', 'a2', 'a3', 'a4', 'a5'].map((id) => update(id, 'a')),
    update('b1', 'b'),
    { kind: 'create' as const, group: 'c', region: 'iad', config },
    { kind: 'create' as const, group: 'c', region: 'iad', config },
  ]
  const sizes = (max: number) => batches(steps, max).map((batch) => batch.length)
  assert.deepEqual(sizes(0.33), [2, 2, 1, 1, 2])
  assert.deepEqual(sizes(1), [1, 1, 1, 1, 1, 1, 2])
  assert.deepEqual(sizes(9), [5, 1, 2])
})

test('rolling: when one fails, those already changed go back to what they were', async () => {
  const machines = [former('m1'), former('m2'), former('m3', { state: 'stopped' })]
  const { code, stderr, state, api } = await deploy({
    machines,
    args: ['--max-unavailable', '1'],
    api: (a, s) => {
      a.on('GET /api/v1/apps/[^/]+/logs', () => '\n')
      a.on('GET /v1/apps/hello/machines/m2', () => {
        const machine = s.machines.find((m) => m.id === 'm2')!
        const isNew = machine.config.metadata?.fly_release_id === 'rel-1'
        return isNew ? { ...machine, state: 'stopped', events: [exitedWith(1)] } : machine
      })
    },
  })
  assert.equal(code, 1)
  assert.match(stderr, /Going back to the former release \(2\)/)
  assert.match(stderr, /Put back machine m1 \(iad, app\)/)
  assert.match(stderr, /Error: Machine m2 exited with code 1/)
  assert.deepEqual(
    state.machines.map((m) => m.config),
    machines.map((m) => m.config),
  )
  assert.ok(!api.log.includes('POST /v1/apps/hello/machines/m3'), 'never touched')
  assert.equal(state.releases[0]?.status, 'failed')
})

test('rolling: an interrupt puts back as well', async () => {
  const interrupt = new AbortController()
  const machines = [former('m1'), former('m2')]
  const { code, state } = await deploy({
    ...{ machines, signal: interrupt.signal },
    api: (a) =>
      a.on('GET /v1/apps/hello/machines/m2/wait', async () => {
        interrupt.abort()
        await new Promise((done) => setTimeout(done, 20))
        return {}
      }),
  })
  assert.equal(code, 127)
  assert.deepEqual(
    versions(state),
    machines.map((m) => [m.id, 'rel-0']),
  )
})

/** Which machines were in the rotation after each change of it, by what the API was asked. */
function rotation(api: FakeApi, blue: readonly string[]): string[][] {
  const inRotation = new Set(blue)
  return api.requests.flatMap(({ method, path }) => {
    const [, id = '', verb] = /machines\/([^/]+)\/?(cordon|uncordon)?$/.exec(path) ?? []
    if (verb === 'uncordon') inRotation.add(id)
    else if (verb === 'cordon' || method === 'DELETE') inRotation.delete(id)
    else return []
    return [[...inRotation].sort()]
  })
}

test('bluegreen: new machines beside the old ones; there is always somebody in the rotation', async () => {
  const machines = [former('m1'), former('m2', { region: 'nrt' })]
  const { code, stderr, state, api } = await deploy({ machines, args: ['--strategy', 'bluegreen'] })
  assert.equal(code, 0, stderr)
  const bodies = created(api) as { skip_service_registration?: boolean; region?: string }[]
  assert.deepEqual(
    bodies.map((b) => [b.skip_service_registration, b.region]),
    [
      [true, 'iad'],
      [true, 'nrt'],
    ],
  )
  assert.deepEqual(versions(state), [
    ['n3', 'rel-1'],
    ['n4', 'rel-1'],
  ])
  const steps = rotation(api, ['m1', 'm2'])
  assert.ok(
    steps.every((ids) => ids.length >= 2),
    JSON.stringify(steps),
  )
  assert.deepEqual(steps.at(-1), ['n3', 'n4'])
  const first = (line: RegExp) => api.log.findIndex((one) => line.test(one))
  assert.ok(first(/m1\/cordon/) < first(/m1\/stop/))
  assert.ok(first(/n4\/uncordon/) < first(/m1\/cordon/))
})

test('bluegreen: checks that fail destroy the new machines and leave the old ones alone', async () => {
  const machines = [former('m1'), former('m2')]
  const failing = (m: ApiMachine): ApiMachine => ({
    ...m,
    checks: [{ name: 'http', status: 'critical', output: 'refused', updated_at: '' }],
  })
  const { code, stderr, state, api } = await deploy({
    machines,
    args: ['--strategy', 'bluegreen', '--wait-timeout', '2s'],
    api: (a, s) => {
      a.on('GET /api/v1/apps/[^/]+/logs', () => '\n')
      a.on('GET /v1/apps/hello/machines/(n.)', (_, id) => {
        const machine = s.machines.find((m) => m.id === id)
        return machine ? failing(machine) : new Reply(404, { error: 'machine not found' })
      })
    },
  })
  assert.equal(code, 126, stderr)
  assert.match(stderr, /Destroying the new machines \(2\); the old ones serve on/)
  assert.deepEqual(state.machines, machines)
  assert.ok(!api.log.some((line) => /m\d\/(cordon|stop)/.test(line)))
  assert.equal(state.releases[0]?.status, 'failed')
})

test('bluegreen: a creation that is refused or interrupted leaves nothing behind', async () => {
  const machines = [former('m1'), former('m2')]
  let asked = 0
  const refused = await deploy({
    machines,
    args: ['--strategy', 'bluegreen'],
    api: (a, s) =>
      a.on('POST /v1/apps/hello/machines', ({ body }) => {
        asked += 1
        if (asked > 1) return new Reply(412, { error: 'no egress block is free; allocate a pair' })
        const made = fakeMachine('n9', { config: (body as { config: MachineConfig }).config })
        s.machines.push(made)
        return made
      }),
  })
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /Error: no egress block is free; allocate a pair/)
  assert.deepEqual(refused.state.machines, machines)

  const interrupt = new AbortController()
  const interrupted = await deploy({
    ...{ machines, args: ['--strategy', 'bluegreen'], signal: interrupt.signal },
    // The machine is made, and nobody hears of it.
    api: (a, s) =>
      a.on('POST /v1/apps/hello/machines', async ({ body }) => {
        s.machines.push(
          fakeMachine(`x${s.machines.length}`, {
            config: (body as { config: MachineConfig }).config,
          }),
        )
        interrupt.abort()
        await new Promise((done) => setTimeout(done, 50))
        return {}
      }),
  })
  assert.equal(interrupted.code, 127)
  assert.deepEqual(interrupted.state.machines, machines)
})

test('bluegreen needs a check and cannot be detached', async () => {
  const toml = HELLO.replace(/\[\[http_service.checks\]\][\s\S]*/, '')
  const unchecked = await deploy({ toml, args: ['--strategy', 'bluegreen'] })
  assert.match(unchecked.stderr, /bluegreen needs at least one check/)
  const detached = await deploy({ args: ['--strategy', 'bluegreen', '--detach'] })
  assert.match(detached.stderr, /has to wait for the new machines/)
  assert.deepEqual([...unchecked.api.log, ...detached.api.log], [])
})
