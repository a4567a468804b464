import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { paced } from './support/pace.ts'
import { ordinaryUser, removeOrdinaryUser } from './support/user.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

/** The main job, from an empty machine to three continents, as root and as an ordinary user. */

const REGIONS = ['iad', 'lhr', 'nrt']

interface Hello {
  readonly app: string
  readonly region: string
  readonly machine: string
  readonly headers: Record<string, string>
}

function mainJob(name: string, start: () => Promise<TestWorld>): void {
  describe(name, () => {
    let world: TestWorld
    let dedicated = ''
    let v6 = ''
    let shared = ''
    const scratch = mkdtempSync(join(tmpdir(), 'fairway-job-'))
    chmodSync(scratch, 0o755) // The ordinary user reads it too.

    before(async () => {
      world = await start()
    })
    after(async () => {
      await world?.close()
      rmSync(scratch, { recursive: true, force: true })
    })

    const json = async <T>(...args: string[]): Promise<T> =>
      JSON.parse((await world.fairway([...args, '--json'])).stdout)
    const ips = (app: string) => json<{ Address: string; Type: string }[]>('ips', 'list', '-a', app)
    const get = async (place: string, url: string, ...curl: string[]): Promise<Hello> =>
      JSON.parse((await world.exec(place, ['curl', '-sfg', '-m', '30', ...curl, url])).stdout)

    test('deploy gives the app a machine, a shared IPv4 and an IPv6', async () => {
      const deployed = await world.fairway(['deploy', '-c', join(ROOT, 'examples/hello/fly.toml')])
      assert.match(deployed.stdout, /hello\.fairway\.test/)
      const list = await ips('hello')
      shared = list.find((ip) => ip.Type === 'shared_v4')!.Address
      v6 = list.find((ip) => ip.Type === 'v6')!.Address
      assert.equal(list.length, 2)
      assert.match(
        (await world.fairway(['ips', 'list', '-a', 'hello'])).stdout,
        /no dedicated IPv4/i,
      )
    })

    test('scale count spreads machines over the regions', async () => {
      await world.fairway([
        'scale',
        'count',
        '3',
        '--region',
        'iad,lhr,nrt',
        '-a',
        'hello',
        '--yes',
      ])
      const machines = await json<{ region: string; state: string }[]>(
        'machine',
        'list',
        '-a',
        'hello',
      )
      assert.deepEqual(machines.map((m) => m.region).sort(), REGIONS)
      assert.deepEqual(new Set(machines.map((m) => m.state)), new Set(['started']))
    })

    test(
      'every client is answered from its own region: by shared IPv4, name, IPv6 and dedicated IPv4',
      paced(async () => {
        await world.fairway(['ips', 'allocate-v4', '-a', 'hello', '--yes'])
        dedicated = (await ips('hello')).find((ip) => ip.Type === 'v4')!.Address
        for (const region of REGIONS) {
          const client = `client-${region}`
          const answers = [
            await eventually(`${client} by shared IPv4`, 5_000, () =>
              get(client, `http://${shared}/`, '-H', 'Host: hello.fairway.test'),
            ),
            await get(client, 'http://hello.fairway.test/'),
            await get(client, `http://[${v6}]/`),
            await get(client, `http://${dedicated}/`),
          ]
          assert.deepEqual(
            answers.map((a) => a.region),
            Array(4).fill(region),
          )
          assert.equal(answers[1]!.headers['fly-region'], region)
          assert.equal(answers[1]!.headers.host, 'hello.fairway.test')
          assert.ok(answers[1]!.headers['fly-client-ip'])
        }
      }),
    )

    test(
      'a host of the region without a machine serves through the mesh',
      paced(async () => {
        // iad has two hosts and one machine; flows are spread over both hosts by the router.
        const answers = await Promise.all(
          Array.from({ length: 16 }, () => get('client-iad', `http://${dedicated}/`)),
        )
        assert.deepEqual(new Set(answers.map((a) => a.region)), new Set(['iad']))
      }),
    )

    test('the relay answers on the machine itself', async () => {
      const response = await fetch(`http://127.0.0.1:${world.appsPort}/`, { headers: {} })
      assert.equal(response.status, 404, 'the bare address names no app')
      const { stdout } = await world.fairway(['world', 'exec', 'client-iad', '--', 'true'])
      assert.equal(stdout, '')
      const hello = await curlOutside(`http://hello.localhost:${world.appsPort}/`)
      assert.equal((JSON.parse(hello) as Hello).app, 'hello')
    })

    test(
      'attach moves the dedicated IPv4 to another app, detach parks it, release frees it',
      paced(async () => {
        writeFileSync(join(scratch, 'fly.toml'), secondApp())
        writeFileSync(
          join(scratch, 'server.js'),
          readFileSync(join(ROOT, 'examples/hello/server.js')),
        )
        await world.fairway(['deploy', '-c', join(scratch, 'fly.toml')])
        await world.fairway(['ips', 'attach-v4', dedicated, '-a', 'second', '--yes'])
        for (const region of REGIONS)
          assert.equal((await get(`client-${region}`, `http://${dedicated}/`)).app, 'second')
        assert.equal(
          (await ips('hello')).some((ip) => ip.Type === 'v4'),
          false,
        )

        await world.fairway(['ips', 'detach-v4', dedicated, '-a', 'second', '--yes'])
        const parked = await world.exec(
          'client-lhr',
          ['curl', '-s', '-m', '15', `http://${dedicated}/`],
          { check: false },
        )
        assert.notEqual(parked.status, 0)

        await world.fairway(['ips', 'attach-v4', dedicated, '-a', 'hello', '--yes'])
        assert.equal((await get('client-nrt', `http://${dedicated}/`)).app, 'hello')
        await world.fairway(['ips', 'release-v4', '--ip', dedicated, '-a', 'hello', '--yes'])
        const after = await ips('hello')
        assert.equal(
          after.some((ip) => ip.Address === dedicated),
          false,
        )
        assert.ok(
          after.some((ip) => ip.Type === 'shared_v4'),
          'back on the shared address',
        )
        assert.equal((await get('client-iad', 'http://hello.fairway.test/')).app, 'hello')
      }),
    )

    test(
      'a regional address is announced by its region alone',
      paced(async () => {
        await world.fairway(['ips', 'allocate-v4', '-r', 'nrt', '-a', 'second', '--yes'])
        const regional = (await ips('second')).find((ip) => ip.Type === 'v4')!.Address
        for (const region of REGIONS) {
          const edge = await eventually(
            `client-${region} is served by nrt's edge`,
            5_000,
            async () => {
              const { headers } = await get(`client-${region}`, `http://${regional}/`)
              return headers['fly-region'] === 'nrt'
            },
          )
          assert.ok(edge)
        }
        await world.fairway(['ips', 'release', regional, '-a', 'second', '--yes'])
      }),
    )

    test('ordinary servers that nobody here wrote run as they are', async () => {
      for (const name of ['nginx', 'python']) {
        await world.fairway(['deploy', '-c', join(ROOT, `examples/${name}/fly.toml`)])
        const app = /^app\s*=\s*['"](.+?)['"]/m.exec(
          readFileSync(join(ROOT, `examples/${name}/fly.toml`), 'utf8'),
        )![1]
        const page = await eventually(
          `${name} answers`,
          5_000,
          async () =>
            (
              await world.exec('client-lhr', [
                'curl',
                '-sf',
                '-m',
                '5',
                `http://${app}.fairway.test/`,
              ])
            ).stdout,
        )
        assert.match(page, /html/i)
      }
    })

    test('logs show what the app said', async () => {
      const { stdout } = await world.fairway(['logs', '--no-tail', '-a', 'hello'])
      assert.match(stdout, /listening|hello/i)
    })

    test('down leaves nothing, and up again finds the app', async () => {
      await world.fairway(['down'])
      await world.fairway(['up', '--detach', '--port', '0', '--api-port', '0'], {
        timeoutMs: 480_000,
      })
      // Another region may answer until lhr's machine is back.
      await eventually(
        'lhr serves its client again',
        20_000,
        async () => (await get('client-lhr', 'http://hello.fairway.test/')).region === 'lhr',
      )
    })
  })
}

const secondApp = () => `app = 'second'
primary_region = 'lhr'

[processes]
app = 'node server.js'

[http_service]
internal_port = 8080
processes = ['app']
`

async function curlOutside(url: string): Promise<string> {
  const { run } = await import('./support/world.ts')
  return (await run(['curl', '-sf', '-m', '30', url])).stdout
}

after(removeOrdinaryUser)

mainJob('as whoever runs the test', () => upWorld())

const user = ordinaryUser()
if (user.name)
  mainJob('as an ordinary user', () => upWorld({ user: user.name!, fairway: user.fairway! }))
else test('as an ordinary user', { skip: user.why }, () => {})
