import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { type ApiMachine, api } from './support/api.ts'
import { FAR_END, type FarEnd, startFarEnd } from './support/far-end.ts'
import { paced } from './support/pace.ts'
import { type Postgres, postgresBin, startPostgres } from './support/postgres.ts'
import { scaled } from './support/soak.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

const DEPLOYS = scaled(2, 100)
const PG_PORT = 5432
/** Connections that stay open; the far end's router deals their answers out to both hosts. */
const FLOWS = 8
const DATABASE_URL = `postgresql://app@${FAR_END.v4}:${PG_PORT}/postgres`

/**
 * A destination outside the platform admits an app's egress address and nothing else: by nftables
 * and by pg_hba.conf. Everything that the app runs gets in, from both hosts of the region; the
 * same from anybody else does not.
 */
describe('a partner that admits one address', () => {
  let world: TestWorld
  let farEnd: FarEnd
  let postgres: Postgres
  let v4 = ''
  let v6 = ''
  const folder = mkdtempSync(join(tmpdir(), 'fairway-payer-'))
  const psql = join(postgresBin(), 'psql')

  before(async () => {
    world = await upWorld()
    farEnd = await startFarEnd(world)
    postgres = await startPostgres({
      at: (argv) => [
        join(ROOT, 'bin', 'fairway'),
        ...['world', 'exec', FAR_END.place, '--', ...argv],
      ],
      env: { ...process.env, FAIRWAY_STATE: world.stateDir },
      listen: [FAR_END.v4],
      port: PG_PORT,
      hba: [],
    })
    await postgres.sql('create role app login')
    await postgres.sql('create table releases (at timestamptz default now(), client inet)')
    await postgres.sql('grant all on releases to app')
    cpSync(join(ROOT, 'test', 'support', 'payer'), folder, { recursive: true })
    writeFileSync(join(folder, 'fly.toml'), flyToml(psql))
  })
  after(async () => {
    await postgres?.close()
    await farEnd?.close()
    await world?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const deploy = (...flags: string[]) =>
    world.fairway(['deploy', '-c', join(folder, 'fly.toml'), '--yes', ...flags], {
      timeoutMs: 180_000,
    })
  /** Those that run: the ones that a deploy has replaced may still be on their way out. */
  const machines = async () =>
    (await api<ApiMachine[]>(world, 'GET', '/v1/apps/payer/machines')).filter(
      ({ state }) => state === 'started',
    )
  /** Asks one machine, past the edge's choice, by its private address on its host. */
  const ask = async (machine: string, path: string): Promise<string> => {
    // A connection that is kept alive would keep the process.
    const script = `fetch('http://127.0.0.1:8080${path}').then(async (r) => {
      console.log((await r.text()).trim())
      process.exit(0)
    })`
    const argv = ['machine', 'exec', machine, '--', 'node', '-e', script]
    return (await world.fairway(argv)).stdout.trim()
  }

  test('the addresses come first; then the app, on both hosts of the region', async () => {
    await world.fairway(['apps', 'create', 'payer', '--yes'])
    await world.fairway(['ips', 'allocate-egress', '-a', 'payer', '-r', 'iad', '--yes'])
    const listed = JSON.parse(
      (await world.fairway(['ips', 'list', '-a', 'payer', '--json'])).stdout,
    ) as { Address: string; Type: string; Region: string }[]
    v4 = listed.find((ip) => ip.Type === 'egress_v4')!.Address
    v6 = listed.find((ip) => ip.Type === 'egress_v6')!.Address
    await farEnd.admit([v4, v6], [PG_PORT])
    await postgres.setHba([`host postgres app ${v4}/32 trust`])

    await deploy()
    await world.fairway(['scale', 'count', '4', '-a', 'payer', '--region', 'iad', '--yes'])
    await eventually('machines run on both hosts of iad', 10_000, async () => {
      const hosts = (await machines()).map(hostOf)
      return hosts.length === 4 && hosts.includes('1') && hosts.includes('2')
    })
  })

  test('the release command was let in before anything else ran', async () => {
    assert.equal(await postgres.sql('select distinct host(client) from releases'), v4)
  })

  test('every machine is let in, in both families, and the database knows the address', async () => {
    for (const { id } of await machines()) {
      const { port } = FAR_END
      assert.match(
        await ask(id, `/dial?host=${FAR_END.v4}&port=${port}`),
        new RegExp(`^${v4.replaceAll('.', '\\.')} \\d+$`),
      )
      assert.match(await ask(id, `/dial?host=${FAR_END.v6}&port=${port}`), new RegExp(`^${v6} `))
      assert.equal(await ask(id, '/sql'), v4)
    }
  })

  test('egress check finds the same, at the echo of the edges and in both families', async () => {
    const checked = await world.fairway(['egress', 'check', 'ip.fairway.test:80', '-a', 'payer'])
    for (const address of [v4, v6]) assert.ok(checked.stdout.includes(address), checked.stdout)
    assert.doesNotMatch(checked.stdout, /unreachable|refused|wrong/)
  })

  test('a one-off and a command in a machine are let in too', async () => {
    const select = [psql, DATABASE_URL, '-Atc', 'select inet_client_addr()']
    const [machine] = await machines()
    const inside = await world.fairway(['machine', 'exec', machine!.id, '--', ...select])
    assert.equal(inside.stdout.trim(), v4)
    const oneOff = await world.fairway([
      ...['machine', 'run', folder, '-a', 'payer', '-r', 'iad', '--rm', '--', ...select],
    ])
    assert.match(`${oneOff.stdout}${oneOff.stderr}`, new RegExp(v4.replaceAll('.', '\\.')))
  })

  test(`${DEPLOYS} deploys with their release commands, none fails`, async () => {
    for (let n = 0; n < DEPLOYS; n++) {
      await deploy('--strategy', n % 2 === 0 ? 'rolling' : 'bluegreen', '-e', `N=${n}`)
    }
    assert.equal(await postgres.sql('select count(*) from releases'), String(DEPLOYS + 1))
    assert.equal(await postgres.sql('select distinct host(client) from releases'), v4)
  })

  test('its address goes to another app and a machine’s own to the app; no flow ends', async () => {
    const dial = `host=${FAR_END.v4}&port=${FAR_END.port}`
    const came = async (id: string) => (await ask(id, `/dial?${dial}`)).split(' ')[0]
    const allocated = async (...flags: string[]) => {
      const ran = await world.fairway(['ips', 'allocate-egress', ...flags, '-r', 'iad', '--yes'])
      return /198\.51\.100\.\d+/.exec(ran.stdout)![0]
    }
    const [one, two] = (await machines()).map(({ id }) => id)
    const every = async (path: string, answer: string) => {
      for (const id of [one!, two!]) assert.equal(await ask(id, path), answer)
    }
    for (const id of [one!, two!])
      assert.match(await ask(id, `/open?${dial}`), new RegExp(`^${v4} `))

    await world.fairway(['apps', 'create', 'heir', '--yes'])
    const next = await allocated('-a', 'payer', '--group', 'nobody')
    await farEnd.admit([v4, v6, next], [PG_PORT])
    await world.fairway(['egress', 'unpin', next, '-a', 'payer', '--yes'])
    await world.fairway(['egress', 'move', v4, '--to-app', 'heir', '-a', 'payer', '--yes'])
    for (const id of [one!, two!]) assert.equal(await came(id), next, 'new flows take the new path')
    await every('/ping', '1')

    const own = await world.fairway(['machine', 'egress-ip', 'allocate', one!, '--yes'])
    const ownV4 = /198\.51\.100\.\d+/.exec(own.stdout)![0]
    await farEnd.admit([v4, v6, next, ownV4], [PG_PORT])
    assert.match(await ask(one!, `/open?${dial}`), new RegExp(`^${ownV4} `))
    await world.fairway(['machine', 'egress-ip', 'promote', one!, '--yes'])
    assert.match((await world.fairway(['ips', 'list', '-a', 'payer'])).stdout, new RegExp(ownV4))
    assert.ok([ownV4, next].includes((await came(one!))!))
    assert.equal(await ask(one!, '/ping'), '2', 'flows of both addresses go on')
    assert.equal(await ask(two!, '/ping'), '1')

    // Back as it was, for what comes next.
    await world.fairway(['egress', 'move', v4, '--to-app', 'payer', '-a', 'heir', '--yes'])
  })

  test('an outbound proxy: two addresses from anywhere, over HTTP and SOCKS5', async () => {
    const { stdout } = await world.fairway(['outbound', 'create', 'partners'])
    const addresses = /Destinations see (.*); admit/.exec(stdout)![1]!.split(/, | or /)
    const urlOf = (scheme: string) => new RegExp(`${scheme}://\\S+`).exec(stdout)![0]
    const seen = async (proxy: string) => {
      const curl = ['curl', '-sS', '-m', '20', '-x', proxy, 'http://ip.fairway.test']
      return (await world.exec('client-nrt', curl)).stdout.trim()
    }
    for (const scheme of ['http', 'socks5h']) {
      // Its process starts when there is a proxy.
      const address = await eventually('it answers', 20_000, () => seen(urlOf(scheme)))
      assert.ok(addresses.includes(address), `${address} of ${addresses}`)
    }
    const wrong = urlOf('http').replace(/:[^:@]+@/, ':wrong@')
    assert.match(await seen(wrong), /unknown or expired credentials/)
  })

  test(
    'a host of the region falls silent: flows of the other go on, new connections within 3 s',
    paced(async (t) => {
      const dial = `host=${FAR_END.v4}&port=${FAR_END.port}`
      const on = async (host: string) =>
        (await machines()).find((machine) => hostOf(machine) === host)!.id
      const [id, other] = [await on('1'), await on('2')]
      const before = Number(await ask(id, '/ping'))
      for (let n = 0; n < FLOWS; n++) await ask(id, `/open?${dial}`)
      let isOver = false
      const watched = ask(id, `/watch?${dial}&seconds=15`).finally(() => {
        isOver = true
      })
      // Its command has to get there first.
      await setTimeout(4_000)
      await world.exec('host-iad2', ['nft', SILENCE])
      const wasWatched = !isOver
      const { answer, kept } = await watched
        .then(async (answer) => ({ answer, kept: await ask(id, '/ping') }))
        .finally(() => world.exec('host-iad2', ['nft', 'delete table inet silence']))
      assert.ok(wasWatched, 'it was watched meanwhile')
      const [tries, failed, spanMs] = answer.split(' ').map(Number)
      t.diagnostic(`of ${tries} new connections ${failed} failed, within ${spanMs} ms`)
      assert.equal(
        Number(kept),
        before + FLOWS,
        'flows that were open go on, wherever their answers entered',
      )
      assert.ok(tries! > 20 && spanMs! <= 3_000, `${failed} of ${tries} failed within ${spanMs} ms`)
      await eventually('the host is back', 20_000, () => ask(other, `/dial?${dial}`))
    }),
  )

  test('nobody else is let in: another app, another region, the hosts themselves', async () => {
    const before = await farEnd.arrived()
    assert.deepEqual(before.wrongSources, [], 'a packet of the app left with another address')
    await world.fairway(['apps', 'create', 'stranger', '--yes'])
    for (const [app, region] of [
      ['stranger', 'iad'],
      ['payer', 'lhr'],
    ] as const) {
      const tried = await world.fairway(
        [
          ...['machine', 'run', folder, '-a', app, '-r', region, '--rm', '--'],
          ...[psql, DATABASE_URL, '-Atc', 'select 1'],
        ],
        { check: false },
      )
      assert.notEqual(tried.status, 0, `${app} in ${region} was let in`)
    }
    const byHost = await world.exec('host-iad1', [psql, DATABASE_URL, '-Atc', 'select 1'], {
      check: false,
    })
    assert.notEqual(byHost.status, 0)
    await eventually('the attempts were counted', 5_000, async () => {
      return (await farEnd.arrived()).wrong > before.wrong
    })
  })
})

/** What a host that has died without a word looks like from outside. */
const SILENCE = `table inet silence {
  chain in { type filter hook prerouting priority -500; policy drop; }
  chain out { type filter hook output priority -500; policy drop; }
}`

/** The index of a machine's host, which its 6PN address carries. */
const hostOf = ({ private_ip }: ApiMachine): string => private_ip.split(':')[4]!

const flyToml = (psql: string): string => `app = "payer"
primary_region = "iad"

[deploy]
  release_command = '''sh -c "${psql} $DATABASE_URL -c 'insert into releases (client) values (inet_client_addr())'"'''

[env]
  DATABASE_URL = "${DATABASE_URL}"
  PSQL = "${psql}"

[processes]
  app = "node server.mjs"

[http_service]
  internal_port = 8080
  processes = ["app"]
  [[http_service.checks]]
    path = "/"
    interval = "2s"
    timeout = "2s"
    grace_period = "1s"
`
