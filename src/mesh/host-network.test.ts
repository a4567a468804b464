import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { pino } from 'pino'
import type { Clock } from '../base/clock.ts'
import { generateKeys } from '../kernel/wg.ts'
import type { Host } from '../model/resources.ts'
import { FakeKernel } from './fake-kernel.ts'
import { planHostAddresses } from './firewall.ts'
import { createHostNetwork } from './host-network.ts'
import {
  addElements,
  addressesOf,
  deviceOf,
  idOfDevice,
  machinePool,
  removeElements,
} from './machines.ts'
import { planMesh, planPeers, wgSetArguments } from './peers.ts'
import { hostRoutes, planRoutes } from './routes.ts'

const KEYS = Array.from({ length: 12 }, () => generateKeys().publicKey)

const host = (index: number, key: string | null = KEYS[index]!): Host => ({
  id: `h${index}`,
  region: 'iad',
  index,
  underlayV4: `192.0.2.${index}`,
  underlayV6: `2001:db8::${index}`,
  meshPublicKey: key,
})

/** Sleeps end at once, but only as often as the test allows. */
class StepClock implements Clock {
  #waiting: (() => void)[] = []
  now(): number {
    return 0
  }
  sleep(_ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(resolve)
      signal?.addEventListener('abort', () => reject(new Error('aborted')))
    })
  }
  step(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5))

const stateDir = mkdtempSync(join(tmpdir(), 'fairway-mesh-'))
after(() => rmSync(stateDir, { recursive: true }))

function network(kernel: FakeKernel, clock: Clock = new StepClock()) {
  return createHostNetwork({
    exec: kernel,
    clock,
    log: pino({ level: 'silent' }),
    host: host(1),
    wanInterface: 'wan',
    stateDir,
    publicPrefixes: ['203.0.113.0/24'],
    protectedPrefixes: ['192.0.2.0/24'],
    wireguard: async () => ({ kind: 'kernel', close: () => {} }),
  })
}

test('mesh: what is no peer, and why', () => {
  const { peers, problems } = planMesh(
    [
      host(1),
      host(2),
      host(3, null),
      host(4, 'nonsense'),
      host(5, KEYS[2]!),
      { ...host(10), underlayV4: 'fe80::1' },
    ],
    'h1',
    new Map([['h2', ['fdaa:0:7:a7b:2::/80']]]),
  )
  assert.deepEqual(peers, [
    {
      publicKey: KEYS[2],
      endpoint: '192.0.2.2:51821',
      allowedIps: ['fdaa:0:0:2::/64', 'fdaa:0:7:a7b:2::/80'],
    },
  ])
  assert.deepEqual(problems, [
    'host h4: meshPublicKey is not a key',
    'host h5: meshPublicKey belongs to host h2',
    'host h10: underlayV4 fe80::1 is not an IPv4 address',
  ])
})

test('mesh: a host’s new key is set before its old one goes', () => {
  const old = planMesh([host(2)], 'h1').peers
  const next = planMesh([host(2, KEYS[7]!)], 'h1').peers
  const ops = planPeers(next, old)
  assert.deepEqual(
    ops.map((op) => op.kind),
    ['set', 'remove'],
  )
  assert.deepEqual(wgSetArguments('wg-x', ops), [
    ...['wg', 'set', 'wg-x', 'peer', KEYS[7]!, 'endpoint', '192.0.2.2:51821'],
    ...['allowed-ips', 'fdaa:0:0:2::/64', 'peer', KEYS[2]!, 'remove'],
  ])
  assert.deepEqual(planPeers(next, next), [])
})

test('routes: adds before deletes, nothing when equal', () => {
  const desired = hostRoutes({ index: 2, meshDevice: 'wg-b', publicPrefixes: ['203.0.113.7/28'] })
  assert.deepEqual(planRoutes(desired, [{ type: 'local', dst: '198.51.100.1' }]), [
    'route replace unicast fdaa::/48 dev wg-b proto 146',
    'route replace unreachable fdaa::/16 proto 146',
    'route replace unreachable 172.16.16.0/20 proto 146',
    'route replace local 203.0.113.0/28 dev lo proto 146',
    'route del local 198.51.100.1/32 proto 146',
  ])
  assert.deepEqual(planRoutes(desired, desired), [])
})

test('machines: names, pools, addresses', () => {
  assert.equal(deviceOf('0123456789abcd').length, 15)
  assert.equal(idOfDevice('m0123456789abcd'), '0123456789abcd')
  assert.equal(idOfDevice('mgmt'), undefined)
  assert.throws(() => deviceOf('x; rm'), /machine id x; rm/)
  assert.deepEqual([1, 2, 255].map(machinePool), [
    '172.16.0.0/20',
    '172.16.16.0/20',
    '172.31.224.0/20',
  ])
  const addresses = addressesOf({ id: 'a1', v4: '172.16.0.255', v6: 'FDAA:0:1::2' })
  assert.deepEqual(addresses, {
    device: 'ma1',
    v4: ['172.16.0.255', '172.16.1.0'],
    v6: ['fdaa:0:1::2'],
  })
  assert.match(removeElements(addresses), /^add element .*; delete element .* \. fdaa:0:1::2 }$/)
  assert.throws(() => addressesOf({ id: 'a1', v4: '::1', v6: '::1' }), /machine a1: v4 ::1/)
  const checking = { id: 'a1', v4: '172.16.0.1', v6: 'fdaa:0:1::2', testTarget: 'FDAA:0:1::4' }
  assert.match(addElements(addressesOf(checking)), /tests6 { "ma1" \. fdaa:0:1::4 }$/)
  const [bad, v4] = [
    { ...checking, testTarget: '10.0.0.1' },
    { ...checking, testTarget: null },
  ]
  assert.throws(() => addressesOf(bad), /machine a1: testTarget 10.0.0.1/)
  assert.doesNotMatch(addElements(addressesOf(v4)), /tests6/)
})

test('hosts’ addresses: only differences are commands', () => {
  assert.deepEqual(planHostAddresses(['192.0.2.1', '2001:db8::1'], ['192.0.2.1', '192.0.2.9']), [
    'add element inet fairway hosts6 { 2001:db8::1 }',
    'delete element inet fairway hosts4 { 192.0.2.9 }',
  ])
})

test('from any fleet to any other, in any order, from any state of the kernel', async () => {
  const fleet = fc.uniqueArray(
    fc.record({ index: fc.integer({ min: 1, max: 6 }), key: fc.integer({ min: 0, max: 8 }) }),
    { selector: (h) => h.index, maxLength: 6 },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(fleet, { minLength: 1, maxLength: 5 }), async (fleets) => {
      const kernel = new FakeKernel()
      kernel.peers.set(KEYS[11]!, { endpoint: '(none)', allowedIps: ['fdaa:0:0:3::/64'] })
      kernel.routes.set('local 198.51.100.0/24', { type: 'local', dst: '198.51.100.0/24' })
      const subject = network(kernel)
      await subject.start()
      for (const f of fleets) {
        const hosts = f.map(({ index, key }) => host(index, KEYS[key]!))
        subject.applyHosts(hosts)
        await settled()
        const want = planMesh(hosts, 'h1').peers.map((p) => [
          p.publicKey,
          { endpoint: p.endpoint, allowedIps: p.allowedIps },
        ])
        assert.deepEqual(Object.fromEntries(kernel.peers), Object.fromEntries(want))
        const others = hosts.filter((h) => h.id !== 'h1').map((h) => h.underlayV4)
        assert.deepEqual([...kernel.sets.get('hosts4')!].toSorted(), others.toSorted())
      }
      assert.deepEqual([...kernel.routes.keys()].toSorted(), [
        'local 203.0.113.0/24',
        'unicast fdaa::/48',
        'unreachable 172.16.0.0/20',
        'unreachable fdaa::/16',
      ])
      await subject.close()
    }),
    { numRuns: 30 },
  )
})

test('a start keeps the addresses that the firewall guards already', async () => {
  const kernel = new FakeKernel()
  kernel.sets.set('hosts4', new Set(['192.0.2.9']))
  const subject = network(kernel)
  await subject.start()
  assert.deepEqual([...kernel.sets.get('hosts4')!], ['192.0.2.9'])
  await subject.close()
})

test('a command that fails is tried again; newer hosts overtake older ones', async () => {
  const kernel = new FakeKernel()
  const clock = new StepClock()
  const subject = network(kernel, clock)
  await subject.start()
  kernel.failing = 'wg set'
  subject.applyHosts([host(2)])
  await settled()
  assert.equal(kernel.peers.size, 0)
  kernel.failing = undefined
  subject.applyHosts([host(2), host(3)])
  await settled()
  assert.deepEqual([...kernel.peers.keys()], [KEYS[2], KEYS[3]])
  kernel.peers.clear()
  clock.step()
  await settled()
  assert.equal(kernel.peers.size, 2, 'drift is found')
  await subject.close()
})
