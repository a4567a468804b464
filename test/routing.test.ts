import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Answered, Ask } from './support/ask.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

const URL = 'http://routing.fairway.test'

/** Two machines in iad and one in lhr. */
describe('routing', () => {
  let world: TestWorld
  const machines: Record<string, string[]> = {}

  async function ask(place: string, ...asks: Ask[]): Promise<Answered[]> {
    const script = join(import.meta.dirname, 'support', 'ask.ts')
    const argv = [process.execPath, '--disable-warning=ExperimentalWarning', script]
    const { stdout } = await world.exec(place, [...argv, JSON.stringify(asks)])
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Answered)
  }
  const regions = (answers: readonly Answered[]) =>
    answers.map(({ status, app }) => app.region ?? status)

  before(async () => {
    world = await upWorld()
    await world.fairway(['deploy', '-c', join(ROOT, 'test/support/routing-app/fly.toml'), '--yes'])
    await world.fairway(['scale', 'count', '3', '--region', 'iad,lhr', '-a', 'routing', '--yes'])
    await eventually('three machines serve', 10_000, async () => {
      for (const { app } of await ask('client-iad', { url: URL, times: 20 }, lhr({ url: URL }))) {
        machines[app.region!] ??= []
        const known = machines[app.region!]!
        if (!known.includes(app.machine!)) known.push(app.machine!)
      }
      return machines.iad?.length === 2 && machines.lhr?.length === 1
    })
  })
  after(() => world?.close())

  const lhr = (what: Ask): Ask => ({ ...what, headers: { 'fly-force-region': 'lhr' } })
  const withHeader = (name: string, value: string, url = URL): Ask => ({
    ...{ url, headers: { [name]: value } },
  })

  test('R27, R28: a client may prefer a region, or accept no other', async () => {
    const answers = await ask(
      'client-iad',
      { url: URL },
      withHeader('fly-prefer-region', 'eu'),
      withHeader('fly-prefer-region', 'nrt,lhr'),
      withHeader('fly-prefer-region', 'nrt'),
      withHeader('fly-force-region', 'lhr,iad'),
      withHeader('fly-force-region', 'nrt'),
      withHeader('fly-force-region', 'nowhere'),
    )
    assert.deepEqual(regions(answers), ['iad', 'lhr', 'lhr', 'iad', 'lhr', 503, 400])
    assert.match(answers[5]!.text, /asks for region nrt only \(PR04\)$/)
    assert.match(answers[6]!.text, /Fly-Force-Region "nowhere" names no region that there is/)
  })

  test('R29, R30, H9: or a machine', async () => {
    const [first, second] = machines.iad!
    const answers = await ask(
      'client-nrt',
      withHeader('fly-prefer-instance-id', first!),
      withHeader('fly-prefer-instance-id', machines.lhr![0]!),
      withHeader('fly-force-instance-id', second!),
      withHeader('fly-prefer-instance-id', '00000000000000'),
      withHeader('fly-force-instance-id', '00000000000000'),
    )
    assert.deepEqual(answers.map(({ app }) => app.machine).slice(0, 3), [
      first,
      machines.lhr![0],
      second,
    ])
    assert.equal(answers[3]!.status, 200)
    assert.equal(answers[3]!.app.unavailable, '00000000000000')
    assert.equal(answers[4]!.status, 503)
  })

  test('R30: a machine of another host is asked although its check fails', async () => {
    const [machine] = machines.lhr!
    const force = { 'fly-force-instance-id': machine! }
    await ask('client-iad', { url: `${URL}/sick?ms=60000`, headers: force })
    await eventually('it gets nothing else', 10_000, async () => {
      const [answer] = await ask('client-lhr', { url: URL })
      return answer!.app.region === 'iad'
    })
    const [forced, preferred] = await ask(
      'client-iad',
      { url: URL, headers: force },
      { url: `${URL}/sick?ms=0`, headers: { 'fly-prefer-instance-id': machine! } },
    )
    assert.equal(forced!.app.machine, machine)
    assert.equal(preferred!.app.unavailable, machine)
    await ask('client-iad', { url: `${URL}/sick?ms=0`, headers: force })
  })

  test('a machine that answers errors is left out for a while', async () => {
    // On one connection, so that one worker of one edge sees it all.
    const [first, ...answers] = await ask(
      'client-iad',
      { url: `${URL}/failing?ms=60000` },
      { url: URL, times: 60 },
    )
    const bad = first!.app.machine!
    const errors = answers.filter(({ status }) => status === 500)
    assert.ok(errors.length >= 5 && errors.length <= 7, `${errors.length}`)
    assert.deepEqual(new Set(errors.map(({ app }) => app.machine)), new Set([bad]))
    const force = { 'fly-force-instance-id': bad }
    await ask('client-iad', { url: `${URL}/failing?ms=0`, headers: force })
    const { stdout } = await world.fairway(['logs', '-a', 'routing', '--no-tail'])
    assert.match(stdout, /the machine fails requests: it gets none for 5 s/)
  })

  test('a sticky service: a cookie brings a client back, from anywhere, until its machine stops', async () => {
    const url = `${URL}:8001/`
    const [first] = await ask('client-iad', { url })
    const cookie = /^where=[\w-]{16}/.exec(first!.headers['set-cookie']![0]!)![0]
    const same = [
      ...(await ask('client-iad', { url, headers: { cookie }, times: 20 })),
      ...(await ask('client-lhr', { url, headers: { cookie }, times: 5, apart: true })),
    ]
    for (const { app, headers } of same) {
      assert.equal(app.machine, first!.app.machine)
      assert.equal(headers['set-cookie'], undefined)
    }
    await world.fairway(['machine', 'stop', first!.app.machine!, '-a', 'routing'])
    const [next] = await ask('client-iad', { url, headers: { cookie } })
    assert.ok(next!.app.machine && next!.app.machine !== first!.app.machine)
    assert.match(next!.headers['set-cookie']![0]!, /^where=/)
    await world.fairway(['machine', 'start', first!.app.machine!, '-a', 'routing'])
  })

  test('two releases at once: new requests go by their shares, and at once', async () => {
    const [machine] = machines.lhr!
    const config = join(ROOT, 'test/support/routing-app/fly.toml')
    await world.fairway(['deploy', '-c', config, '--only-machines', machine!, '--yes'])
    const split = async (...shares: string[]) =>
      (await world.fairway(['releases', 'split', ...shares, '-a', 'routing'])).stdout
    const asked = async () => regions(await ask('client-iad', { url: URL, times: 40 }))
    assert.match(await split('1=0', '2=1'), /v1 +0 +0 % +2\nv2 +1 +100 % +1\n/)
    await eventually('all go to release 2', 5_000, async () =>
      (await asked()).every((region) => region === 'lhr'),
    )
    await split('1=1', '2=1')
    await eventually('both get some', 5_000, async () => new Set(await asked()).size === 2)
    await split('--clear')
    await eventually('the nearest again', 5_000, async () =>
      (await asked()).every((region) => region === 'iad'),
    )
  })

  test('a rate for each source: 429, and when to come again', async () => {
    const answers = await ask('client-iad', { url: `${URL}:8002/`, times: 8 })
    assert.deepEqual(
      answers.map(({ status }) => status).slice(0, 6),
      [200, 200, 200, 200, 200, 429],
    )
    const retryAfter = Number(answers[5]!.headers['retry-after'])
    assert.ok(retryAfter >= 1 && retryAfter <= 10, `${retryAfter}`)
    const [other] = await ask('client-nrt', { url: `${URL}:8002/` })
    assert.equal(other!.status, 200)
  })

  test('a rate for a service of plain TCP: connections beyond it are reset', async () => {
    // Each host counts by itself, and iad has two.
    const answers = await ask('client-iad', { url: `${URL}:8003/`, times: 6, apart: true })
    const served = answers.filter(({ status }) => status === 200)
    assert.ok(served.length >= 1 && served.length <= 3, `${served.length}`)
    assert.match(answers.find(({ status }) => status === 0)!.text, /^ECONN/)
  })
})
