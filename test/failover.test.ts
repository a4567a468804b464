import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

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
    const curl = await world.exec(place, ['curl', '-sf', '-m', '2', 'http://hello.fairway.test/'], {
      check: false,
    })
    return curl.status === 0 ? (JSON.parse(curl.stdout) as { region: string }).region : undefined
  }

  test('nrt dies: errors for at most 3 s, then another region; back again when it is', async () => {
    await eventually(
      'nrt serves its client',
      10_000,
      async () => (await ask('client-nrt')) === 'nrt',
    )
    await world.fairway(['world', 'kill', 'host-nrt1', '--keep-down', 'agent', 'edge', 'bird'])
    const killedMs = Date.now()
    let lastErrorMs = 0
    let served = ''
    while (Date.now() - killedMs < 6_000) {
      const region = await ask('client-nrt')
      if (region === undefined) lastErrorMs = Date.now() - killedMs
      else if (region !== 'nrt') served = region
    }
    assert.ok(lastErrorMs <= 3_000, `errors until ${lastErrorMs} ms`)
    assert.match(served, /^(iad|lhr)$/)
    await world.fairway(['world', 'start', 'host-nrt1', 'agent', 'edge', 'bird'])
    await eventually(
      'traffic returns to nrt',
      15_000,
      async () => (await ask('client-nrt')) === 'nrt',
    )
  })

  test('an edge is replaced under load without a failed request', async () => {
    const done = new AbortController()
    const load = (async () => {
      const results: (string | undefined)[] = []
      while (!done.signal.aborted) results.push(await ask('client-lhr'))
      return results
    })()
    for (let i = 0; i < 3; i++) await world.fairway(['world', 'restart', 'host-lhr1', 'edge'])
    done.abort()
    const results = await load
    assert.ok(results.length > 5, `only ${results.length} requests`)
    assert.deepEqual(
      results.filter((r) => r !== 'lhr'),
      [],
    )
  })

  test('machines outlive the agent that started them', async () => {
    const machines = async () =>
      JSON.parse((await world.fairway(['machine', 'list', '-a', 'hello', '--json'])).stdout) as {
        id: string
        region: string
        state: string
        instance_id: string
      }[]
    const before = await machines()
    const pids = async () =>
      (await world.exec('host-lhr1', ['sh', '-c', 'pgrep -f "node server.js" | sort'])).stdout
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
  })
})
