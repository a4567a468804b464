import assert from 'node:assert/strict'
import { readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { processesIn } from '../src/world/control.ts'
import type { RunningWorld } from '../src/world/state.ts'
import { eventually, type TestWorld, upWorld } from './support/world.ts'

interface Place {
  readonly place: string
  readonly units: readonly { name: string; state: string; pid: number; restarts: number }[]
}

describe('the small internet', () => {
  let world: TestWorld
  before(async () => {
    world = await upWorld()
  })
  after(() => world?.close())

  const running = (): RunningWorld =>
    JSON.parse(readFileSync(join(world.stateDir, 'run', 'world.json'), 'utf8'))
  const places = async (): Promise<Place[]> =>
    JSON.parse((await world.fairway(['world', '--json'])).stdout)
  const unit = async (place: string, name: string) =>
    (await places()).find((p) => p.place === place)!.units.find((u) => u.name === name)!

  test('shows its places and what runs there', async () => {
    const { stdout } = await world.fairway(['world'])
    for (const name of ['router-iad', 'host-iad2', 'client-nrt', 'internet', 'resolver', 'control'])
      assert.match(stdout, new RegExp(name))
    const host = (await places()).find((p) => p.place === 'host-iad1')!
    assert.deepEqual(host.units.map((u) => [u.name, u.state]).sort(), [
      ['agent', 'ready'],
      ['bird', 'ready'],
      ['dns', 'ready'],
      ['edge', 'ready'],
      ['holder', 'ready'],
      ['nameserver', 'ready'],
      ['outbound', 'stopped'],
    ])
  })

  test('is apart from the machine: own network, own processes, nothing secret for others', async () => {
    assert.notEqual(
      readlinkSync('/proc/self/ns/net'),
      (await world.exec('client-iad', ['readlink', '/proc/self/ns/net'])).stdout.trim(),
    )
    assert.equal(statSync(world.stateDir).mode & 0o077, 0)
    assert.equal(statSync(join(world.stateDir, 'cli.json')).mode & 0o077, 0)
    const links = (await world.exec('client-iad', ['ip', '-o', 'link'])).stdout
    assert.match(links, /eth0/)
  })

  test('exec passes on exit codes, input and output', async () => {
    assert.equal((await world.exec('internet', ['sh', '-c', 'exit 7'], { check: false })).status, 7)
    assert.equal(
      (await world.exec('internet', ['cat'], { input: 'through and back' })).stdout,
      'through and back',
    )
    const wrong = await world.exec('client-xyz', ['true'], { check: false })
    assert.notEqual(wrong.status, 0)
  })

  test('anything killed is back within a second', async () => {
    for (const [place, name] of [
      ['host-lhr1', 'edge'],
      ['host-lhr1', 'agent'],
      ['control', 'control'],
      ['host-lhr1', 'bird'],
    ] as const) {
      const before = await unit(place, name)
      await world.fairway(['world', 'kill', place, name])
      await eventually(`${name} is back`, 5_000, async () => {
        const now = await unit(place, name)
        return now.state === 'ready' && now.pid !== before.pid
      })
    }
  })

  test('a unit that does not exist is an error that names those that do', async () => {
    const wrong = await world.fairway(['world', 'kill', 'host-lhr1', 'egde'], { check: false })
    assert.equal(wrong.status, 1)
    assert.match(wrong.stderr, /agent.*edge/)
  })

  test('a second up says that one runs', async () => {
    const again = await world.fairway(['up', '--detach'])
    assert.match(again.stderr, /running already/)
  })

  test('killing the keeper ends everything, and up just works afterwards', async () => {
    const { keeperPid, pidNamespace } = running()
    assert.ok(processesIn(pidNamespace).length > 20)
    process.kill(keeperPid, 'SIGKILL')
    await eventually(
      'every process is gone',
      5_000,
      async () => processesIn(pidNamespace).length === 0,
    )
    const none = await world.fairway(['world'], { check: false })
    assert.match(none.stderr, /no world is running.*npm run up/)
    await world.fairway(['up', '--detach', '--port', '0', '--api-port', '0'], {
      timeoutMs: 480_000,
    })
  })

  test('down leaves no process, socket or cgroup', async () => {
    const { pidNamespace } = running()
    await world.fairway(['down'])
    assert.deepEqual(processesIn(pidNamespace), [])
    assert.match((await world.fairway(['down'])).stdout, /No world was running/)
    const { readdirSync } = await import('node:fs')
    assert.deepEqual(readdirSync(join(world.stateDir, 'run')), [])
  })

  test('a port that is taken, a bad port and a bad description are named', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as { port: number }
    try {
      const taken = await world.fairway(
        ['up', '--detach', '--port', String(port), '--api-port', '0'],
        { check: false, timeoutMs: 480_000 },
      )
      assert.match(taken.stderr, new RegExp(`127\\.0\\.0\\.1:${port} is in use`))
    } finally {
      server.close()
    }
    const bad = await world.fairway(['up', '--port', '99999'], { check: false })
    assert.match(bad.stderr, /--port 99999/)
    const file = join(world.stateDir, 'bad.json')
    writeFileSync(file, JSON.stringify({ announce: ['203.0.113.0/99'] }))
    const description = await world.fairway(['up', '--world', file], { check: false })
    assert.match(description.stderr, /announce\.0/)
  })
})
