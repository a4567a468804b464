import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { startClient } from './support/client.ts'
import { paced } from './support/pace.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

const RACING = 1_000
const CALLERS = 32

/** The control plane is killed while a thousand allocations race: what it acknowledged is true. */
describe('a crash of the control plane', () => {
  let world: TestWorld
  before(async () => {
    world = await upWorld()
    await world.fairway(['deploy', '-c', join(ROOT, 'examples/hello/fly.toml')])
  })
  after(() => world?.close())

  const call = async (path: string, body?: object): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${world.apiPort}${path}`, {
      method: body ? 'POST' : 'GET',
      headers: {
        authorization: `Bearer ${world.token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body ? JSON.stringify(body) : null,
      signal: AbortSignal.timeout(30_000),
    })
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
    return response.json()
  }

  test(
    'every acknowledged IPv6 is there after the restart, none twice; edges served meanwhile',
    paced(async () => {
      const acknowledged: string[] = []
      let started = 0
      const caller = async () => {
        while (started < RACING) {
          started += 1
          try {
            const { ip } = (await call('/v1/apps/hello/ip_assignments', { type: 'v6' })) as {
              ip: string
            }
            acknowledged.push(ip)
          } catch {
            // Not acknowledged: the control plane was away.
            await new Promise((resolve) => setTimeout(resolve, 5))
          }
        }
      }
      const visitor = startClient(world, 'client-iad', 'hello.fairway.test')
      const race = Promise.all(Array.from({ length: CALLERS }, caller))
      await eventually('the race is on', 20_000, async () => acknowledged.length > 100)
      await world.fairway(['world', 'kill', 'control', 'control'])
      await race
      const served = await visitor.stop()

      const { ips } = await eventually(
        'the API answers again',
        10_000,
        async () => (await call('/v1/apps/hello/ip_assignments')) as { ips: { ip: string }[] },
      )
      const listed = ips.map((i) => i.ip)
      assert.equal(new Set(listed).size, listed.length, 'an address twice')
      assert.equal(new Set(acknowledged).size, acknowledged.length, 'an address acknowledged twice')
      assert.deepEqual(
        acknowledged.filter((ip) => !listed.includes(ip)),
        [],
        'acknowledged and lost',
      )
      assert.ok(acknowledged.length > 100)
      assert.ok(served.length > 20, `only ${served.length} requests`)
      assert.deepEqual(
        served.filter((s) => s.region !== 'iad'),
        [],
      )
    }),
  )
})
