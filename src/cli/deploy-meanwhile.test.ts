import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MachineConfig } from '../model/machine-config.ts'
import type { ApiMachine } from './api-types.ts'
import type { FakeApi } from './testing.ts'
import { deploy, former, HELLO } from './testing-deploys.ts'
import { created, exitedWith, withJobs } from './testing-jobs.ts'
import type { FakeState } from './testing-world.ts'

/** What somebody else does to an app's machines while a deploy is under way. */

const RELEASE = `${HELLO}[deploy]\nrelease_command = "node migrate.js"\n`
const BLUEGREEN = ['--strategy', 'bluegreen']

const change = (state: FakeState, id: string, more: Partial<ApiMachine>) => {
  state.machines = state.machines.map((m) => (m.id === id ? { ...m, ...more } : m))
}
const destroy = (state: FakeState, id: string) => {
  state.machines = state.machines.filter((m) => m.id !== id)
}
const skips = (api: FakeApi) =>
  api.requests
    .filter(({ method, path }) => method === 'POST' && /machines\/m\d$/.test(path))
    .map(({ path, body }) => [path.at(-1), (body as { skip_launch: boolean }).skip_launch])
const isNew = (config: MachineConfig) => config.metadata?.fly_release_id === 'rel-1'

test('the machines are those that there are when the release command has ended', async () => {
  const machines = [former('m1'), former('m2', { state: 'stopped' }), former('m3')]
  const { code, stderr, api, state } = await deploy({
    ...{ toml: RELEASE, machines, args: ['--only-machines', 'm1,m2,m3'] },
    api: (a, s) => {
      withJobs(a, s, { code: 0, lines: [] })
      a.on('PATCH /api/v1/releases/rel-1', () => {
        change(s, 'm2', { state: 'started' })
        destroy(s, 'm3')
        return {}
      })
    },
  })
  assert.equal(code, 0, stderr)
  assert.deepEqual(skips(api), [
    ['1', false],
    ['2', false],
  ])
  assert.match(stderr, /Machine m3 is gone: somebody has destroyed it/)
  assert.deepEqual(
    state.machines.map(({ id }) => id),
    ['m1', 'm2'],
  )
})

test('rolling: whether a machine rests is seen under its lease, and one that is gone is passed over', async () => {
  const machines = [former('m1'), former('m2', { state: 'stopped' }), former('m3')]
  const { code, stderr, api } = await deploy({
    ...{ machines, args: ['--max-unavailable', '1'] },
    api: (a, s) =>
      a.on('GET /v1/apps/hello/machines/m1/wait', () => {
        change(s, 'm2', { state: 'started' })
        destroy(s, 'm3')
        return {}
      }),
  })
  assert.equal(code, 0, stderr)
  assert.deepEqual(skips(api), [
    ['1', false],
    ['2', false],
  ])
  assert.match(stderr, /Machine m3 is gone: somebody has destroyed it/)
})

test('rolling: a machine goes back to what it was when its turn came', async () => {
  const machines = [former('m1'), former('m2'), former('m3')]
  const between = { ...machines[1]!.config, env: { OF: 'another deploy' } }
  const { code, state } = await deploy({
    ...{ machines, args: ['--max-unavailable', '1'] },
    api: (a, s) => {
      a.on('GET /api/v1/apps/[^/]+/logs', () => '\n')
      a.on('GET /v1/apps/hello/machines/m1/wait', () => {
        if (isNew(s.machines[0]!.config)) change(s, 'm2', { config: between })
        return {}
      })
      a.on('GET /v1/apps/hello/machines/m3', () => {
        const m3 = s.machines[2]!
        return isNew(m3.config) ? { ...m3, state: 'stopped', events: [exitedWith(1)] } : m3
      })
    },
  })
  assert.equal(code, 1)
  assert.deepEqual(
    state.machines.map(({ config }) => config),
    [machines[0]!.config, between, machines[2]!.config],
  )
})

test('bluegreen: the new machines are beside those that are there once all are held', async () => {
  const machines = [former('m1'), former('m2', { state: 'stopped' }), former('m3')]
  const { code, stderr, api, state } = await deploy({
    ...{ machines, args: BLUEGREEN },
    api: (a, s) =>
      a.on('POST /v1/apps/hello/machines/m1/lease', () => {
        change(s, 'm2', { state: 'started' })
        destroy(s, 'm3')
        return { status: 'success', data: { nonce: 'n0nce' } }
      }),
  })
  assert.equal(code, 0, stderr)
  assert.match(stderr, /Machine m3 is gone: somebody has destroyed it/)
  assert.equal(created(api).length, 2)
  assert.deepEqual(
    state.machines.map(({ id, state }) => [id, state]),
    [
      ['n4', 'started'],
      ['n5', 'started'],
    ],
  )
})

test('a machine of a group that is gone may be gone itself', async () => {
  const old = former('m2')
  const metadata = { ...old.config.metadata, fly_process_group: 'old' }
  const { code, stderr, state } = await deploy({
    machines: [former('m1'), { ...old, config: { ...old.config, metadata } }],
    api: (a, s) =>
      a.on('GET /v1/apps/hello/machines/m1/wait', () => {
        destroy(s, 'm2')
        return {}
      }),
  })
  assert.equal(code, 0, stderr)
  assert.equal(state.releases[0]?.status, 'complete')
})
