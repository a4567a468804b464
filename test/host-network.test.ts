import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemExec } from '../src/kernel/exec.ts'
import { meshAddress, PORTS } from '../src/model/wire.ts'
import {
  Agent,
  at,
  buildWorld,
  countPings,
  dial,
  endWorld,
  forwardNames,
  listText,
  PLACES,
  pings,
  resolveAt,
  routeMachines,
  serve,
  serveNames,
} from './host-network/world.ts'
import { IS_SOAK } from './support/soak.ts'

/**
 * Two hosts, a router and the places around them, with real packets. The tests start themselves
 * again inside namespaces of their own, as root and as an ordinary user.
 */
const INSIDE = 'FAIRWAY_TEST_INSIDE'

if (process.env[INSIDE] === undefined) outside()
else inside()

function outside(): void {
  const root = process.getuid!() === 0
  const unshare = 'unshare --mount --net --pid --fork --kill-child --mount-proc'
  const run = `${process.execPath} --disable-warning=ExperimentalWarning ${import.meta.filename}`
  const go = `sh -c 'mount -t tmpfs none /run && mkdir -p /run/netns && exec ${run}'`
  const skip = root ? false : 'needs root'
  test('as root', { skip, timeout: 600_000 }, () => check(shell(`${unshare} ${go}`)))

  // Bare machines close /dev/net/tun to users; an open one in a mount namespace of our own stands in.
  const openTun =
    'mount -t tmpfs none /mnt && mknod /mnt/tun c 10 200 && chmod 666 /mnt/tun && mount --bind /mnt/tun /dev/net/tun'
  const asUser = `runuser -u nobody -- ${unshare} --user --map-root-user ${go}`
  const isSoaked = skip || (!IS_SOAK && 'npm run soak')
  test('as an ordinary user', { skip: isSoaked, timeout: 600_000 }, () =>
    check(shell(`unshare --mount sh -c "${openTun} && ${asUser.replaceAll('"', '\\"')}"`)),
  )
}

const shell = (command: string) =>
  spawnSync('sh', ['-c', command], {
    encoding: 'utf8',
    env: { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined },
  })

function check({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /# pass [1-9]|ℹ pass [1-9]/)
}

function inside(): void {
  const state = mkdtempSync(join(tmpdir(), 'fairway-host-'))
  const state2 = mkdtempSync(join(tmpdir(), 'fairway-host-'))
  const one = {
    id: 'aaaaaaaaaaaaa1',
    v4: '172.16.0.2',
    v6: 'fdaa:0:1:a7b:1:0:1:2',
    networkId: 1,
    egress: null,
    hostSlotName: 'vm1',
  }
  const two = {
    id: 'aaaaaaaaaaaaa2',
    v4: '172.16.0.4',
    v6: 'fdaa:0:1:a7b:1:0:2:2',
    networkId: 1,
    egress: null,
    hostSlotName: 'vm2',
  }
  const far = {
    id: 'bbbbbbbbbbbbb1',
    v4: '172.16.16.2',
    v6: 'fdaa:0:1:a7b:2:0:1:2',
    networkId: 1,
    egress: null,
    hostSlotName: 'vm1',
  }
  let a: Agent
  let b: Agent
  let hosts: object[]

  before(async () => {
    await buildWorld()
    await routeMachines()
    a = new Agent('host-a', state)
    b = new Agent('host-b', state2)
    const [keyA, keyB] = await Promise.all(
      [a, b].map((agent) => agent.ask<{ meshPublicKey: string }>('start')),
    )
    hosts = [host('host-a', keyA!.meshPublicKey), host('host-b', keyB!.meshPublicKey)]
    await Promise.all([a.ask('hosts', hosts), b.ask('hosts', hosts)])
    await serve('internet', 'plain', '8000')
    await serve('control', 'plain', '4280', '4281')
    await serve('host-a', 'transparent', String(PORTS.edge))
    await serve('host-b', 'plain', String(PORTS.backhaul), '7000', '53')
    await serve('host-a', 'plain', '7000')
    const { v4, v6 } = PLACES.internet
    await serveNames('internet', v4, v6)
    const names = join(state, 'dns.json')
    writeFileSync(names, JSON.stringify({ listen: ['fdaa::3'], upstreams: [v6, v4] }))
    await forwardNames('host-a', names)
  })

  after(() => {
    endWorld()
    for (const dir of [state, state2]) rmSync(dir, { recursive: true })
  })

  const host = (place: 'host-a' | 'host-b', meshPublicKey: string) => ({
    id: place.slice(5),
    region: 'iad',
    index: PLACES[place].index,
    underlayV4: PLACES[place].v4,
    underlayV6: PLACES[place].v6,
    meshPublicKey,
  })

  test('the mesh carries the backhaul, and nothing else of a host is open', async () => {
    assert.ok(await eventually(() => pings('host-a', meshAddress(2))), 'mesh ping')
    assert.match(await dial('host-a', meshAddress(2), PORTS.backhaul), /remote=fdaa:0:0:1::1$/)
    const closed = [
      ['host-a', meshAddress(2), 7000],
      ['client', PLACES['host-b'].v4, PORTS.backhaul],
      ['client', PLACES['host-b'].v6, PORTS.backhaul],
      ['client', PLACES['host-a'].v4, PORTS.edge],
      ['client', PLACES['host-a'].v4, 179],
      ['client', PLACES['host-b'].v6, 179],
      ['client', PLACES['host-a'].v6, 7000],
    ] as const
    await Promise.all(
      closed.map(async ([place, address, port]) =>
        assert.equal(await dial(place, address, port), 'timeout', `${place} -> ${address}:${port}`),
      ),
    )
  })

  test('TCP to the pools reaches the edge with its destination; pings are answered', async () => {
    for (const [address, shown] of [
      ['203.0.113.5', '::ffff:203.0.113.5'],
      ['2001:db8:1::77', '2001:db8:1::77'],
    ] as const) {
      for (const port of [1, 25, 179, 9000, 65_535])
        assert.match(
          await dial('client', address, port),
          new RegExp(`local=\\[${shown}\\]:${port} `),
        )
      assert.ok(await pings('client', address), `ping ${address}`)
    }
    const tracked = await listText('host-a', ['cat', '/proc/net/nf_conntrack']).catch(() => '')
    assert.doesNotMatch(tracked, /203\.0\.113\.5.*dport=25/)
  })

  test('without an edge the pools refuse at once', async () => {
    assert.equal(await dial('client', '203.0.113.5', 80).then((t) => t.slice(0, 5)), 'local')
    await systemExec.run(at('host-b', ['true']))
    await systemExec.run([
      'ip',
      '-n',
      'router',
      'route',
      'replace',
      '203.0.113.15/32',
      'via',
      PLACES['host-b'].v4,
    ])
    assert.equal(await dial('client', '203.0.113.15', 80), 'ECONNREFUSED')
  })

  test('a machine reaches the internet and the pools, and nothing of the platform', async () => {
    const start = process.hrtime.bigint()
    const attached = await a.ask<{ netnsPath: string }>('attach', one)
    const ms = Number(process.hrtime.bigint() - start) / 1e6
    console.log(`attach took ${ms.toFixed(1)} ms`)
    assert.equal(attached.netnsPath, `/run/netns/m-${one.id}`)
    await Promise.all([a.ask('attach', two), b.ask('attach', far)])
    await serve(`m-${two.id}`, 'plain', '80')
    await serve(`m-${far.id}`, 'plain', '80')
    await serve(`m-${one.id}`, 'plain', '80')
    const from = `m-${one.id}`
    const { internet, control } = PLACES
    assert.match(
      await dial(from, internet.v4, 8000),
      new RegExp(`remote=::ffff:${PLACES['host-a'].v4}$`),
    )
    assert.match(await dial(from, internet.v6, 8000), /remote=2001:db8:a000:1::1$/)
    // This host's own edge sees what any other would: the public source.
    assert.match(
      await dial(from, '203.0.113.5', 443),
      new RegExp(`local=\\[::ffff:203.0.113.5\\]:443 remote=::ffff:${PLACES['host-a'].v4}$`),
    )
    assert.match(await dial(from, '2001:db8:1::5', 443), /remote=2001:db8:a000:1::1$/)
    assert.ok((await pings(from, '203.0.113.5')) && (await pings(from, '2001:db8:1::5')))
    for (const [place, address] of [
      [`m-${far.id}`, PLACES['host-b'].v4],
      [`m-${two.id}`, PLACES['host-a'].v4],
    ] as const)
      assert.match(await dial(place, '203.0.113.6', 80), new RegExp(`remote=::ffff:${address}$`))
    assert.equal(await resolveAt(from, 'hello.test', 'AAAA'), '2001:db8:1::5')
    assert.equal((await resolveAt(from, 'long.test', 'A')).split(',').length, 200)
    assert.equal(await resolveAt(from, 'nobody.test', 'A'), 'ENOTFOUND')
    assert.match(await dial('host-a', one.v4, 80), /local=\[::ffff:172.16.0.2\]:80/)
    const refused = [
      [PLACES['host-a'].v4, 7000],
      [PLACES['host-a'].v6, 7000],
      ['169.254.0.1', 7000],
      ['169.254.0.1', PORTS.edge],
      ['fdaa::3', 7000],
      [PLACES['host-b'].v4, 7000],
      [PLACES['host-b'].v6, 7000],
      [control.v4, 4280],
      [control.v6, 4281],
      [meshAddress(1), PORTS.backhaul],
      [meshAddress(2), PORTS.backhaul],
      [two.v4, 80],
      [two.v6, 80],
      [far.v4, 80],
      [far.v6, 80],
      ['169.254.169.254', 80],
    ] as const
    await Promise.all(
      refused.map(async ([address, port]) => {
        const answer = await dial(from, address, port)
        assert.match(answer, /^E(CONNREFUSED|HOSTUNREACH|ACCES|NETUNREACH)$/, `${address}:${port}`)
      }),
    )
    assert.ok(!(await pings(from, two.v6)) && !(await pings(from, PLACES['host-a'].v4)))
    assert.ok((await pings(from, '169.254.0.1')) && (await pings(from, internet.v4)))
  })

  test('sources that are not the machine’s own are dropped', async () => {
    const place = `m-${one.id}`
    await systemExec.run(['ip', '-n', place, 'addr', 'add', '172.16.0.9/32', 'dev', 'eth0'])
    await systemExec.run([
      'ip',
      '-n',
      place,
      'addr',
      'add',
      `${two.v6}/128`,
      'dev',
      'eth0',
      'nodad',
    ])
    assert.ok(!(await pings(place, PLACES.internet.v4, '172.16.0.9')))
    assert.ok(!(await pings(place, PLACES.internet.v6, two.v6)))
    assert.equal(await dial(place, '203.0.113.5', 80, '172.16.0.9'), 'timeout')
    assert.ok(await pings(place, PLACES.internet.v4, '172.16.0.3'), 'fly-global-services')
    assert.match(
      await listText('host-a', ['nft', 'list', 'chain', 'inet', 'fairway', 'machine_source']),
      /counter packets [1-9]/,
    )
  })

  test('a machine that is silent reaches nothing until it is attached again', async () => {
    const place = `m-${two.id}`
    assert.ok(await pings(place, PLACES.internet.v4))
    await a.ask('silence', two.id)
    assert.ok(
      !(await pings(place, PLACES.internet.v4)) && !(await pings(place, PLACES.internet.v6)),
    )
    assert.ok(!(await pings(place, '169.254.0.1')))
    await a.ask('attach', two)
    assert.ok(await pings(place, PLACES.internet.v4))
    assert.match(await dial('host-a', two.v4, 80), /local=\[::ffff:172.16.0.4\]:80/)
  })

  test('an agent that is killed leaves everything in force, and its successor takes over', async () => {
    const flow = keepTalking(`m-${one.id}`, PLACES.internet.v4)
    await a.kill()
    assert.ok(await pings(`m-${one.id}`, PLACES.internet.v4))
    assert.ok(await pings('host-b', meshAddress(1)))
    a = new Agent('host-a', state)
    const again = await a.ask<{ meshPublicKey: string }>('start')
    assert.equal(again.meshPublicKey, (hosts[0] as { meshPublicKey: string }).meshPublicKey)
    await a.ask('hosts', hosts)
    assert.deepEqual((await a.ask<string[]>('list')).toSorted(), [one.id, two.id])
    await a.ask('attach', one)
    assert.match(await dial('host-a', one.v4, 80), /:80/)
    assert.match(await dial(`m-${one.id}`, PLACES.internet.v4, 8000), /remote/)
    assert.equal(await dial(`m-${one.id}`, PLACES['host-b'].v4, 7000), 'ECONNREFUSED')
    assert.equal(await flow.lost(), 0, 'lost pings')
  })

  test('a wireguard-go that is killed comes back with its peers', async () => {
    const pids = (await systemExec.run(['pgrep', '-f', 'wireguard-go -f wg-a'])).trim()
    process.kill(Number(pids), 'SIGKILL')
    assert.ok(await eventually(() => pings('host-a', meshAddress(2))))
    assert.match(await dial('host-a', meshAddress(2), PORTS.backhaul), /remote=fdaa:0:0:1::1$/)
  })

  test('a host that leaves the fleet leaves the mesh', async () => {
    await a.ask('hosts', [hosts[0]])
    assert.ok(await eventually(async () => !(await pings('host-a', meshAddress(2)))))
    await a.ask('hosts', hosts)
    assert.ok(await eventually(() => pings('host-a', meshAddress(2))))
  })

  test('detach leaves nothing, also of a machine that is half there', async () => {
    await a.ask('detach', one.id)
    await a.ask('detach', one.id)
    await systemExec.run(['ip', '-n', 'host-a', 'link', 'del', 'dev', `m${two.id}`])
    await a.ask('detach', two.id)
    const ruleset = await listText('host-a', ['nft', 'list', 'table', 'inet', 'fairway'])
    assert.doesNotMatch(ruleset, /aaaaaaaaaaaaa/)
    assert.doesNotMatch(await systemExec.run(['ip', 'netns', 'list']), /aaaaaaaaaaaaa/)
    assert.doesNotMatch(await listText('host-a', ['ip', 'link']), /aaaaaaaaaaaaa/)
    assert.deepEqual(await a.ask('list'), [])
    await systemExec.run(['ip', 'netns', 'add', `m-${one.id}`])
    await a.ask('attach', one)
    assert.ok(await pings(`m-${one.id}`, PLACES.internet.v4), 'attached over a leftover')
    // The kernel takes its devices away in its own time.
    for (let i = 0; i < 40; i++) {
      await systemExec.run(['ip', 'netns', 'del', `m-${one.id}`])
      await a.ask('attach', one)
    }
    assert.ok(await pings(`m-${one.id}`, PLACES.internet.v4), 'what has gone is made anew')
    await a.ask('detach', one.id)
    const made = await a.ask<{ netnsPath: string }>('namespace', one)
    const { ino } = statSync(made.netnsPath)
    assert.deepEqual([await a.ask('attach', one), statSync(made.netnsPath).ino], [made, ino])
    assert.ok(await pings(`m-${one.id}`, PLACES.internet.v4), 'attached to its namespace')
    assert.deepEqual(await a.ask('namespace', one), made)
    assert.equal(statSync(made.netnsPath).ino, ino)
    await a.ask('attach', { ...one, v4: '172.16.0.6' })
    assert.ok(await pings(`m-${one.id}`, PLACES.internet.v4), 'attached with another address')
    assert.ok(
      !(await listText('host-a', ['nft', 'list', 'table', 'inet', 'fairway'])).includes(
        '172.16.0.2',
      ),
    )
    await a.ask('detach', one.id)
  })

  test('forty machines, one after the other', async () => {
    const took: number[] = []
    for (let i = 0; i < 40; i++) {
      const id = `cccccccccccc${(i + 16).toString(16)}`
      const start = process.hrtime.bigint()
      await a.ask('attach', {
        ...one,
        id,
        v4: `172.16.1.${2 * i}`,
        v6: `fdaa:0:2:a7b:1:0:${i + 1}:2`,
      })
      took.push(Number(process.hrtime.bigint() - start) / 1e6)
    }
    took.sort((x, y) => x - y)
    console.log(`attach: p50 ${took[20]!.toFixed(1)} ms, max ${took[39]!.toFixed(1)} ms`)
    assert.equal((await a.ask<string[]>('list')).length, 40)
  })
}

/** Pings all the time; `lost` ends it and counts answers that did not come. */
function keepTalking(place: string, address: string) {
  const counting = countPings(place, address, { count: 60 })
  return { lost: async () => 60 - (await counting) }
}

async function eventually(probe: () => Promise<boolean>, timeoutMs = 60_000): Promise<boolean> {
  const end = Date.now() + timeoutMs
  while (Date.now() < end) {
    if (await probe()) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}
