import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { startClient } from './support/client.ts'
import { paced } from './support/pace.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

const FAIL_OVER_MS = 3_000

/** A region's host goes down whole and comes back, seen by a client that keeps asking. */
describe('fail-over', () => {
  let world: TestWorld
  before(async () => {
    world = await upWorld()
    await world.fairway(['deploy', '-c', join(ROOT, 'examples/hello/fly.toml')])
    await world.fairway(['scale', 'count', '3', '--region', 'iad,lhr,nrt', '-a', 'hello', '--yes'])
  })
  after(() => world?.close())

  const ask = async (place: string): Promise<string | undefined> => {
    const curl = await world.exec(
      place,
      ['curl', '-sf', '-m', '10', 'http://hello.fairway.test/'],
      {
        check: false,
      },
    )
    return curl.status === 0 ? (JSON.parse(curl.stdout) as { region: string }).region : undefined
  }

  test(
    'nrt dies: errors for at most 3 s, then another region; back again when it is',
    paced(async (t) => {
      await eventually(
        'nrt serves its client',
        10_000,
        async () => (await ask('client-nrt')) === 'nrt',
      )
      const client = startClient(world, 'client-nrt', 'hello.fairway.test')
      await eventually('the client asks', 5_000, async () => client.seen.length > 20)
      const killedMs = Date.now()
      await world.fairway(['world', 'kill', 'host-nrt1', '--keep-down', 'agent', 'edge', 'bird'])
      const since = () => client.seen.filter((s) => s.atMs >= killedMs)
      await eventually('another region serves', FAIL_OVER_MS, async () =>
        /^(iad|lhr)$/.test(since().at(-1)?.region ?? ''),
      )
      await new Promise((resolve) => setTimeout(resolve, 6_000))
      await client.stop()
      const seen = since()
      const lastError = seen.findLast((s) => s.error !== undefined)
      assert.ok(
        !lastError || lastError.atMs - killedMs <= FAIL_OVER_MS,
        `${lastError?.error} after ${lastError && lastError.atMs - killedMs} ms`,
      )
      t.diagnostic(`errors for ${lastError ? lastError.atMs - killedMs : 0} ms`)
      assert.match(seen.at(-1)!.region!, /^(iad|lhr)$/)
      assert.ok(seen.filter((s) => s.region && s.region !== 'nrt').length > 50)
      await world.fairway(['world', 'start', 'host-nrt1', 'agent', 'edge', 'bird'])
      await eventually(
        'traffic returns to nrt',
        15_000,
        async () => (await ask('client-nrt')) === 'nrt',
      )
    }),
  )

  test(
    'an edge is replaced under load without a failed request',
    paced(async () => {
      const client = startClient(world, 'client-lhr', 'hello.fairway.test')
      await eventually('the client asks', 5_000, async () => client.seen.length > 20)
      for (let i = 0; i < 3; i++) await world.fairway(['world', 'restart', 'host-lhr1', 'edge'])
      const seen = await client.stop()
      assert.ok(seen.length > 50, `only ${seen.length} requests`)
      assert.deepEqual(
        seen.filter((s) => s.region !== 'lhr'),
        [],
      )
    }),
  )

  test(
    'machines outlive the agent that started them',
    paced(async () => {
      const machines = async () =>
        JSON.parse((await world.fairway(['machine', 'list', '-a', 'hello', '--json'])).stdout) as {
          id: string
          region: string
          state: string
          instance_id: string
        }[]
      const before = await machines()
      const pids = async () =>
        (await world.exec('host-lhr1', ['sh', '-c', 'pgrep -f "^node server.js" | sort'])).stdout
      const pidsBefore = await pids()
      await world.fairway(['world', 'kill', 'host-lhr1', 'agent'])
      await world.fairway(['world', 'kill', 'control', 'control'])
      await eventually(
        'the API answers again',
        10_000,
        async () => (await machines()).length === before.length,
      )
      assert.equal(await ask('client-lhr'), 'lhr')
      assert.equal(await pids(), pidsBefore)
    }),
  )
})
