import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Answer, Load } from './support/load.ts'
import { startLoad as startLoadAt } from './support/loading.ts'
import { paced } from './support/pace.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

/** Soft and hard limit of the app, see its fly.toml. */
const [SOFT, HARD] = [2, 3]
const URL = 'http://balance.fairway.test'
/** So long after one another that every edge knows what the ones before have done. */
const STAGGER_MS = 100

/** Two machines in iad and one in lhr, with two requests each before they count as busy, three at most. */
describe('balancing', () => {
  let world: TestWorld
  before(async () => {
    world = await upWorld()
    const config = join(ROOT, 'test/support/balance-app/fly.toml')
    await world.fairway(['deploy', '-c', config, '--yes'])
    await world.fairway(['scale', 'count', '3', '--region', 'iad,lhr', '-a', 'balance', '--yes'])
    await eventually('three machines serve', 10_000, async () => {
      const answers = await load({ url: `${URL}/?ms=200`, clients: 9, requests: 1 })
      return new Set(answers.map(({ machine }) => machine)).size === 3
    })
  })
  after(() => world?.close())

  const startLoad = (what: Load, place = 'client-iad') => startLoadAt(world, what, place)
  const load = (what: Load, place?: string) => startLoad(what, place).ended
  const logs = async () =>
    (await world.fairway(['logs', '-a', 'balance', '--no-tail'])).stdout.split('\n')

  /** How many answers of each machine, by region. */
  function shares(answers: readonly Answer[]): Record<string, number[]> {
    const byRegion: Record<string, Record<string, number>> = {}
    for (const { region = 'none', machine = 'none' } of answers) {
      byRegion[region] ??= {}
      byRegion[region][machine] = (byRegion[region][machine] ?? 0) + 1
    }
    return Object.fromEntries(
      Object.entries(byRegion).map(([region, machines]) => [
        region,
        Object.values(machines).sort(),
      ]),
    )
  }

  for (const [clients, expected] of [
    [2 * SOFT, { iad: [SOFT, SOFT] }],
    [2 * HARD, { iad: [HARD, HARD] }],
    [3 * HARD, { iad: [HARD, HARD], lhr: [HARD] }],
  ] as const)
    test(
      `${clients} at once are spread ${JSON.stringify(expected)}`,
      paced(async () => {
        const url = `${URL}/?ms=${(clients + 4) * STAGGER_MS}`
        const answers = await load({ url, clients, requests: 1, staggerMs: STAGGER_MS })
        assert.deepEqual(shares(answers), expected)
      }),
    )

  test(
    'a client far away fills the nearest region first',
    paced(async () => {
      const clients = HARD + 1
      const url = `${URL}/?ms=${(clients + 4) * STAGGER_MS}`
      const ask = { url, clients, requests: 1, staggerMs: STAGGER_MS }
      assert.deepEqual(shares(await load(ask, 'client-lhr')), { lhr: [HARD], iad: [1] })
    }),
  )

  test(
    'above all hard limits they wait for their turn, and no machine gets more',
    paced(async () => {
      const answers = await load({ url: `${URL}/?ms=50`, clients: 8 * HARD, requests: 10 })
      assert.deepEqual(
        answers.filter(({ status }) => status !== 200),
        [],
      )
      assert.ok(Math.max(...answers.map(({ inFlight }) => inFlight!)) <= HARD)
      const all = Object.values(shares(answers)).flat()
      assert.ok(Math.min(...all) > answers.length / 8, `every machine has its share: ${all}`)
    }),
  )

  test(
    'those who wait too long get 503 and are told when to come back; then all is well',
    paced(async () => {
      const [slots, more] = [3 * HARD, 4]
      const answers = await load({ url: `${URL}/?ms=7000`, clients: slots + more, requests: 1 })
      const refused = answers.filter(({ status }) => status === 503)
      assert.equal(refused.length, more)
      assert.equal(answers.filter(({ status }) => status === 200).length, slots)
      for (const { tookMs, retryAfter, text } of refused) {
        assert.ok(tookMs > 4_500 && tookMs < 6_500, `${tookMs} ms`)
        assert.equal(retryAfter, '1')
        assert.match(text!, /hard limit \(PR04\)$/)
      }
      const [next] = await load({ url: URL, clients: 1, requests: 1 })
      assert.equal(next!.status, 200)
      assert.ok((await logs()).some((line) => line.includes('[PR04]')))
    }),
  )

  test(
    'a cordon takes a machine out at once, without an error, and back',
    paced(async () => {
      const client = startLoad({ url: `${URL}/?ms=20`, clients: 4, pauseMs: 5 })
      await eventually('both answer', 5_000, async () => shares(client.answers).iad?.length === 2)
      const cordoned = client.answers.find(({ region }) => region === 'iad')!.machine!
      await world.fairway(['machine', 'cordon', cordoned, '-a', 'balance'])
      const known = client.answers.length
      await pause(1_000)
      const after = client.answers.slice(known)
      // What was under way when the last edge heard of it.
      const late = after.filter(({ machine }) => machine === cordoned)
      assert.ok(late.length <= 4 && after.length > 20, `${late.length} of ${after.length}`)
      await world.fairway(['machine', 'uncordon', cordoned, '-a', 'balance'])
      const back = client.answers.length
      await eventually('it is back', 5_000, async () =>
        client.answers.slice(back).some(({ machine }) => machine === cordoned),
      )
      const answers = await client.stop()
      assert.deepEqual(
        answers.filter(({ status }) => status !== 200),
        [],
      )
    }),
  )

  test(
    'a machine whose check fails is left alone until it passes',
    paced(async () => {
      const sickMs = 4_000
      const [{ machine: sick } = {}] = await load({
        ...{ url: `${URL}/sick?ms=${sickMs}`, clients: 1, requests: 1 },
      })
      const began = Date.now()
      const client = startLoad({ url: `${URL}/?ms=20`, clients: 4, pauseMs: 5 })
      const recent = () => client.answers.slice(-30)
      const has = () => recent().some(({ machine }) => machine === sick)
      await eventually('it gets nothing', sickMs, async () => recent().length === 30 && !has())
      assert.ok(Date.now() - began < sickMs)
      await eventually('it is back', 10_000, async () => has())
      assert.ok(Date.now() - began > sickMs)
      const answers = await client.stop()
      assert.deepEqual(
        answers.filter(({ status }) => status !== 200),
        [],
      )
    }),
  )

  test(
    'machines killed one after the other: no request that can be repeated fails',
    paced(async () => {
      const client = startLoad({ url: `${URL}/?ms=5`, clients: 6 })
      await eventually('all are asked', 5_000, async () => client.answers.length > 50)
      for (let i = 0; i < 3; i++) {
        // Not repeated: the app may have acted on it.
        const die = { url: `${URL}/die`, method: 'POST', clients: 1, requests: 1 }
        const [killed] = await load(die, i === 2 ? 'client-lhr' : 'client-iad')
        assert.equal(killed!.status, 502)
        assert.match(killed!.text!, /\(PU02\)$/)
        await pause(600)
      }
      const answers = await client.stop()
      assert.deepEqual(
        answers.filter(({ status }) => status !== 200),
        [],
      )
      const kills = (await logs()).filter((line) => line.includes('SIGKILL'))
      assert.equal(kills.length, 3)
    }),
  )

  test(
    'edges replaced one after the other: no request fails, whatever it is',
    paced(async () => {
      const what = { url: `${URL}/?ms=5`, method: 'POST', clients: 4, pauseMs: 5 }
      const client = startLoad(what, 'client-nrt')
      await eventually('all are asked', 5_000, async () => client.answers.length > 50)
      for (const host of ['host-iad1', 'host-lhr1', 'host-nrt1', 'host-iad2'])
        await world.fairway(['world', 'restart', host, 'edge'])
      const answers = await client.stop()
      assert.deepEqual(
        answers.filter(({ status }) => status !== 200),
        [],
      )
    }),
  )

  for (const [what, port, status, code] of [
    ['does not listen', 8001, 502, 'PC01'],
    ['closes at once', 8002, 502, 'PU02'],
    ['never answers', 8003, 504, 'PU02'],
    ['answers what is not HTTP', 8004, 502, 'PU02'],
  ] as const)
    test(
      `an app that ${what}: ${status} with ${code}, in the response and in its log`,
      paced(async () => {
        const before = (await logs()).length
        const [answer] = await load({ url: `${URL}:${port}/`, clients: 1, requests: 1 })
        assert.equal(answer!.status, status)
        assert.match(answer!.text!, new RegExp(`\\(${code}\\)`))
        const line = await eventually('the line in the log', 5_000, async () =>
          (await logs()).slice(before - 1).find((text) => text.includes(`[${code}]`)),
        )
        assert.match(line, /proxy\[\w+\] \w+ \[error\]/)
      }),
    )
})

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
