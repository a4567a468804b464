import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type FakeApi, Reply } from './testing.ts'
import { deploy, former } from './testing-deploys.ts'
import { created } from './testing-jobs.ts'

/** Bluegreen deploys that lose their hold of the old machines, or are killed before the switch. */

const BLUEGREEN = ['--strategy', 'bluegreen']
const NONCE = 'fly-machine-lease-nonce'
const foreign = () => new Reply(409, { error: 'lease currently held by ada' })
const ids = (machines: readonly { readonly id: string }[]) => machines.map(({ id }) => id)

/** Leases of m1 as the API has them: who shows a nonce that is not in force is refused. */
function leasing(api: FakeApi, renewed: (nonce: string) => string | undefined) {
  let inForce: string | undefined
  let taken = 0
  api.on('POST /v1/apps/hello/machines/m1/lease', ({ headers }) => {
    const shown = headers[NONCE] as string | undefined
    taken += 1
    inForce = shown === undefined ? `nonce-${taken}` : renewed(shown)
    return inForce === undefined ? foreign() : { status: 'success', data: { nonce: inForce } }
  })
  const refused = (nonce: unknown) => inForce !== undefined && nonce !== inForce
  for (const verb of ['cordon', 'stop']) {
    api.on(`POST /v1/apps/hello/machines/m1/${verb}`, ({ headers }) =>
      refused(headers[NONCE]) ? foreign() : { ok: true },
    )
  }
}

/** The nonce with which the lease of m1 was given back. */
const givenBack = (api: FakeApi) =>
  api.requests.findLast((r) => r.method === 'DELETE' && r.path.endsWith('m1/lease'))?.headers[NONCE]

/** While the new machines become healthy, the leases come to be refreshed. */
function refreshing(t: TestContext, api: FakeApi) {
  t.mock.timers.enable({ apis: ['setInterval'] })
  api.on('GET /v1/apps/hello/machines/n./wait', () => {
    t.mock.timers.tick(10_000)
    return {}
  })
}

test('bluegreen: a lease that got another nonce is shown with that one', async (t) => {
  const { code, stderr, state, api } = await deploy({
    ...{ machines: [former('m1')], args: BLUEGREEN },
    api: (a) => {
      leasing(a, (nonce) => (nonce === 'nonce-1' ? 'handed-out' : nonce))
      refreshing(t, a)
    },
  })
  assert.equal(code, 0, stderr)
  assert.doesNotMatch(stderr, /Warning/)
  assert.deepEqual(ids(state.machines), ['n2'])
  assert.equal(givenBack(api), 'handed-out')
})

test('bluegreen: a lease that ran out is taken anew', async (t) => {
  const { code, stderr, state, api } = await deploy({
    ...{ machines: [former('m1')], args: BLUEGREEN },
    api: (a) => {
      leasing(a, (nonce) => (nonce === 'nonce-1' ? undefined : nonce))
      refreshing(t, a)
    },
  })
  assert.equal(code, 0, stderr)
  assert.doesNotMatch(stderr, /Warning/)
  assert.deepEqual(ids(state.machines), ['n2'])
  assert.equal(givenBack(api), 'nonce-3')
})

test('bluegreen: an old machine that somebody else holds by now stops it before the switch', async () => {
  const machines = [former('m1'), former('m2')]
  let asked = 0
  const { code, stderr, state, api } = await deploy({
    ...{ machines, args: BLUEGREEN },
    api: (a) =>
      a.on('POST /v1/apps/hello/machines/m1/lease', () => {
        asked += 1
        return asked === 1 ? { status: 'success', data: { nonce: 'n0nce' } } : foreign()
      }),
  })
  assert.equal(code, 1)
  assert.match(stderr, /Error: Machine m1 is not held any more: lease currently held by ada/)
  assert.match(stderr, /Destroying the new machines \(2\); the old ones serve on/)
  assert.deepEqual(state.machines, machines)
  assert.ok(!api.log.some((line) => /uncordon/.test(line)))
  assert.equal(state.releases[0]?.status, 'failed')
})

test('bluegreen: an old machine that has gone by itself does not stop it', async () => {
  const { code, stderr, state } = await deploy({
    ...{ machines: [former('m1'), former('m2')], args: BLUEGREEN },
    api: (a, s) =>
      a.on('GET /v1/apps/hello/machines/n./wait', () => {
        s.machines = s.machines.filter(({ id }) => id !== 'm1')
        return {}
      }),
  })
  assert.equal(code, 0, stderr)
  assert.deepEqual(ids(state.machines), ['n3', 'n4'])
})

test('bluegreen: old machines that could not be taken away fail it, with what finishes it', async () => {
  const { code, stderr, state } = await deploy({
    ...{ machines: [former('m1'), former('m2')], args: BLUEGREEN },
    api: (a) => {
      a.on('POST /v1/apps/hello/machines/m./(cordon|stop)', foreign)
      a.on('DELETE /v1/apps/hello/machines/m.', foreign)
    },
  })
  assert.equal(code, 1)
  assert.match(
    stderr,
    /Error: The new machines serve, but machines of the old release are still there and may serve as well: m1, m2\. Finish it with `fairway machine destroy --force m1 m2 -a hello`\.\n$/,
  )
  assert.equal(state.releases[0]?.status, 'failed')
  assert.deepEqual(ids(state.machines), ['m1', 'm2', 'n3', 'n4'])
})

test('bluegreen: an interrupt after the switch does not stop it, and the release is complete', async () => {
  const interrupt = new AbortController()
  const { code, state } = await deploy({
    ...{ machines: [former('m1')], args: BLUEGREEN, signal: interrupt.signal },
    api: (a) =>
      a.on('POST /v1/apps/hello/machines/m1/cordon', () => {
        interrupt.abort()
        return { ok: true }
      }),
  })
  assert.equal(code, 127)
  assert.deepEqual(ids(state.machines), ['n2'])
  assert.equal(state.releases[0]?.status, 'complete')
})

test('canary: one that could not be taken away at the end fails the deploy as well', async () => {
  const { code, stderr, state } = await deploy({
    ...{ machines: [former('m1')], args: ['--strategy', 'canary'] },
    api: (a) => a.on('DELETE /v1/apps/hello/machines/n2', foreign),
  })
  assert.equal(code, 1)
  assert.match(
    stderr,
    /Error: The machines are of the new release, but canaries are still there and may serve as well: n2\. Finish it with `fairway machine destroy --force n2 -a hello`\.\n$/,
  )
  assert.equal(state.releases[0]?.status, 'failed')
})

test('bluegreen: new machines are marked until the switch is done', async () => {
  const { code, stderr, state, api } = await deploy({ machines: [former('m1')], args: BLUEGREEN })
  assert.equal(code, 0, stderr)
  assert.deepEqual(
    created(api).map(({ config }) => config.metadata?.fly_bluegreen),
    ['true'],
  )
  const steps = [/n2\/uncordon/, /DELETE .*n2\/metadata\/fly_bluegreen/, /m1\/cordon/]
  const places = steps.map((step) => api.log.findIndex((line) => step.test(line)))
  assert.ok(0 < places[0]! && places[0]! < places[1]! && places[1]! < places[2]!, String(places))
  assert.ok(!('fly_bluegreen' in state.machines[0]!.config.metadata!))
})

test('bluegreen: what a killed one left is never updated, and destroyed by the next deploy', async () => {
  const green = former('m2', { cordoned: true })
  const metadata = { ...green.config.metadata, fly_bluegreen: 'true' }
  const machines = [former('m1'), { ...green, config: { ...green.config, metadata } }]
  const rolling = await deploy({ machines })
  assert.equal(rolling.code, 0, rolling.stderr)
  assert.ok(!rolling.api.log.includes('POST /v1/apps/hello/machines/m2'))
  assert.deepEqual(ids(rolling.state.machines), ['m1'])
  const again = await deploy({ machines, args: BLUEGREEN })
  assert.equal(again.code, 0, again.stderr)
  assert.deepEqual(ids(again.state.machines), ['n3'])
})
