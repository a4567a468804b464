import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Kept } from './egress-failover/flows.ts'
import { buildRegion, type Region, routes } from './egress-failover/region.ts'
import { listText, PLACES } from './host-network/world.ts'
import { eventually } from './support/world.ts'

/**
 * A static address that machines of two hosts share, with real packets: whatever comes back may enter
 * at either host. The tests start themselves again inside namespaces of their own.
 */
const INSIDE = 'FAIRWAY_TEST_INSIDE'

if (process.env[INSIDE] === undefined) outside()
else inside()

function outside(): void {
  const skip = process.getuid!() === 0 ? false : 'needs root'
  const unshare = 'unshare --mount --net --pid --fork --kill-child --mount-proc'
  const run = `${process.execPath} --disable-warning=ExperimentalWarning ${import.meta.filename}`
  const command = `${unshare} sh -c 'mount -t tmpfs none /run && mkdir -p /run/netns && exec ${run}'`
  test('one address on two hosts', { skip, timeout: 900_000 }, () => {
    const env = { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined }
    check(spawnSync('sh', ['-c', command], { encoding: 'utf8', env }))
  })
}

function check({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /# pass [1-9]|ℹ pass [1-9]/)
}

function inside(): void {
  let region: Region
  before(async () => {
    region = await buildRegion()
  })
  after(() => region?.close())

  const families = ['v4', 'v6'] as const
  const steered = async (place: string) =>
    Number(/packets (\d+)/.exec(await listText(place, NFT_STEERED))![1])
  const NFT_STEERED = ['nft', 'list', 'counter', 'inet', 'egress', 'steered']

  for (const family of families) {
    test(`${family}: answers that enter at the other host reach the machine`, async () => {
      const { a, b, far, pair } = region
      for (const [flows, ingress] of [
        [b, 'host-a'],
        [a, 'host-b'],
      ] as const) {
        await region.enterAt(ingress)
        const before = await steered(ingress)
        assert.equal(await flows.ask('who', far[family]), pair[family])
        assert.equal(await flows.ask('udp', far[family], 64), 64)
        assert.equal(await flows.ask('udp', far[family], 4_000), 4_000, 'fragments')
        assert.equal(await flows.ask('ping', far[family]), true)
        assert.equal(await flows.ask('refused', far[family], 9), 'Connection refused')
        assert.equal(await flows.ask('expired', far[family], 2), 'No route to host')
        assert.ok((await steered(ingress)) - before >= 8, 'it was the other host that got them')
      }
    })

    test(`${family}: a narrow link is found by errors that are steered`, async () => {
      const { b, far } = region
      await region.enterAt('host-a')
      await routes('router', ['link set dev r-internet mtu 1290'])
      const size = 1_000_000
      assert.equal(await b.ask('upload', far[family], size), await b.ask('expected', '', size))
      await routes('router', ['link set dev r-internet mtu 1500'])
    })

    test(`${family}: 100 MB through the overlay are what was sent`, async () => {
      const { b, far } = region
      await region.enterAt('host-a')
      const size = 100_000_000
      const [digest, seconds] = await b.ask<[string, number]>('download', far[family], size)
      assert.equal(digest, await b.ask('expected', '', size))
      console.log(`${family}: 100 MB steered in ${seconds} s`)
    })
  }

  test('the ingress moves back and forth and no flow ends', async () => {
    const { a, b, far } = region
    for (const family of families)
      for (const flows of [a, b]) await flows.ask('keep', far[family], family)
    for (let i = 0; i < 20; i++) {
      await region.enterAt(i % 2 ? 'host-a' : 'host-b')
      await delay(100)
      assert.equal(await a.ask('who', far.v4), region.pair.v4)
      assert.equal(await b.ask('who', far.v6), region.pair.v6)
    }
    for (const family of families)
      for (const flows of [a, b]) {
        const kept = await flows.ask<Kept>('kept', '', family)
        assert.equal(kept.problem, null)
        assert.ok(kept.exchanges > 100, JSON.stringify(kept))
      }
  })

  test('the overlay takes nothing from outside the mesh, and no private sources', async () => {
    const ruleset = await listText('host-a', [
      'nft',
      'list',
      'chain',
      'inet',
      'fairway',
      'from_wan',
    ])
    assert.doesNotMatch(ruleset, /4790/)
    const { a, far } = region
    // What no machine waits for ends here instead of going back and forth with the router.
    const before = await listText('router', ['cat', '/proc/net/snmp'])
    await routes('router', [`route replace 198.51.100.9/32 via ${PLACES['host-a'].v4}`])
    await region.enterAt('host-a')
    await listText('internet', ['python3', '-c', STRAY])
    const hops = (text: string) => Number(/^Ip: (?:\d+ ){5}(\d+)/m.exec(text)![1])
    const forwarded = hops(await listText('router', ['cat', '/proc/net/snmp'])) - hops(before)
    assert.ok(forwarded < 20, `${forwarded} packets were forwarded for 5 stray ones`)
    assert.equal(await a.ask('who', far.v4), region.pair.v4)
  })

  test('a host dies: flows of the other go on', async () => {
    const { a, far } = region
    await region.enterAt('host-a')
    for (const family of families) await a.ask('keep', far[family], `last ${family}`)
    await region.agent('host-b').kill()
    await routes('router', ['link set dev r-host-b down'])
    for (const family of families) {
      const before = await a.ask<number>('exchanges', '', `last ${family}`)
      assert.equal(await a.ask('who', far[family]), region.pair[family])
      await eventually('the flow goes on', 10_000, async () => {
        return (await a.ask<number>('exchanges', '', `last ${family}`)) > before + 10
      })
      const kept = await a.ask<Kept>('kept', '', `last ${family}`)
      assert.equal(kept.problem, null)
    }
  })
}

const STRAY = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5):
    s.sendto(b'x', ('198.51.100.9', 5000))
`
