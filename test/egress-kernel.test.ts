import assert from 'node:assert/strict'
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { EgressCounters } from '../src/egress/counters.ts'
import { systemExec } from '../src/kernel/exec.ts'
import type { MachineEgress } from '../src/model/resources.ts'
import {
  type Captured,
  endPeers,
  type Held,
  PEER,
  Peer,
  type Talked,
} from './egress-kernel/peers.ts'
import { Agent, at, buildWorld, endWorld, listText, PLACES } from './host-network/world.ts'
import { scaled } from './support/soak.ts'
import { eventually } from './support/world.ts'

/**
 * The sources of a host's machines, with real packets: one host, its router, and destinations beyond.
 * What counts is what the router sees. The tests start themselves again inside namespaces of their
 * own.
 */
const INSIDE = 'FAIRWAY_TEST_INSIDE'
/** Of the 64 that an address has room for. */
const MACHINES = scaled(4, 64)
const OPENING_AT_ONCE = 8
const SINKS = scaled(1, 8)

if (process.env[INSIDE] === undefined) outside()
else inside()

function outside(): void {
  const skip = process.getuid!() === 0 ? false : 'needs root'
  const unshare = 'unshare --mount --net --pid --fork --kill-child --mount-proc'
  const run = `${process.execPath} --disable-warning=ExperimentalWarning ${import.meta.filename}`
  const command = `${unshare} sh -c 'mount -t tmpfs none /run && mkdir -p /run/netns && exec ${run}'`
  test('egress of one host', { skip, timeout: scaled(600_000, 3_600_000) }, () => {
    const env = { ...process.env, [INSIDE]: '1', NODE_TEST_CONTEXT: undefined }
    check(spawnSync('sh', ['-c', command], { encoding: 'utf8', env }))
  })
}

function check({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
  assert.equal(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, /# pass [1-9]|ℹ pass [1-9]/)
}

function inside(): void {
  const state = mkdtempSync(join(tmpdir(), 'fairway-egress-'))
  const HOST = PLACES['host-a']
  /** Two destinations, each with a second port. */
  const FAR = { v4: '198.19.9.1', v6: '2001:db8:d000:9::1', other: '198.19.9.2' }
  const [PORT, PORT2, PORT3] = [8000, 8001, 8002]
  const A = { v4: '198.51.100.2', v6: '2001:db8:e001::2' }
  const B = { v4: '198.51.100.3', v6: '2001:db8:e001::3' }
  /** The sources that a host may have at all: its own, the pools, its machines' public prefix. */
  const GUARD = {
    wanDevice: 'wan',
    ownPrefixes: [
      `${HOST.v4}/32`,
      `${HOST.v6}/128`,
      '198.51.100.0/26',
      '2001:db8:e001::/48',
    ].concat('2001:db8:a000:1::/64'),
  }
  let agent: Agent

  before(async () => {
    await buildWorld()
    const batch = (place: string, lines: string[]) =>
      systemExec.run(['ip', '-n', place, '-batch', '-'], { stdin: `${lines.join('\n')}\n` })
    await batch('internet', [
      ...[`${FAR.v4}/32`, `${FAR.other}/32`].map((a) => `addr add ${a} dev lo`),
      `addr add ${FAR.v6}/128 dev lo nodad`,
    ])
    await batch('router', [
      `route add ${FAR.v4}/32 via ${PLACES.internet.v4}`,
      `route add ${FAR.other}/32 via ${PLACES.internet.v4}`,
      `route add ${FAR.v6}/128 via ${PLACES.internet.v6}`,
      `route add 198.51.100.0/26 via ${HOST.v4}`,
      `route add 2001:db8:e001::/48 via ${HOST.v6}`,
      `route add 2001:db8:a000:1::/64 via ${HOST.v6}`,
    ])
    await batch('host-a', [
      'route add blackhole 198.51.100.0/26',
      'route add blackhole 2001:db8:e001::/48',
    ])
    agent = startAgent()
    await agent.ask('start')
    await new Peer('internet', 'sink', PORT, PORT2).next()
  })

  after(() => {
    endPeers()
    endWorld()
    rmSync(state, { recursive: true })
  })

  const startAgent = () =>
    new Agent('host-a', state, { guard: GUARD, publicPrefix6: '2001:db8:a000:1::/64' })

  const machine = (n: number, egress: MachineEgress | null = null) => ({
    id: `aaaaaaaaaaaa${n.toString(16).padStart(2, '0')}`,
    v4: `172.16.0.${2 * n}`,
    v6: `fdaa:0:1:a7b:1:0:${n.toString(16)}:2`,
    networkId: 1,
    hostSlotName: `vm${n}`,
    egress,
  })
  const egress = (of: Partial<Pick<MachineEgress, 'v4' | 'v6'>>, slot: number, count = 1) => ({
    ...{ pair: of.v4 ?? 'none', v4: of.v4 ?? null, v6: of.v6 ?? null, slot, count },
  })
  const place = (m: { id: string }) => `m-${m.id}`

  async function holding(m: { id: string }, count: number, to: string, port = PORT) {
    const peer = new Peer(place(m), 'hold', count, to, port)
    const first = await peer.next<Held>()
    const round = () => {
      peer.again()
      return peer.next<Held>()
    }
    return { ...first, round, end: () => peer.end(false) }
  }

  /** Packets of one of the table's named counters. */
  async function counted(name: string, table = 'egress'): Promise<number> {
    const text = await listText('host-a', ['nft', 'list', 'counter', 'inet', table, name])
    return Number(/packets (\d+)/.exec(text)![1])
  }

  const sources = (held: Held) => new Set(held.came.map(([address]) => address))
  const nft = (...words: string[]) => systemExec.run(at('host-a', ['nft', ...words]))

  test('the first packet has the source, in both families; segments fit the overlay', async () => {
    const m = machine(1, egress(A, 3))
    const ear = new Peer('router', 'capture', 'r-host-a', A.v4, A.v6, 'fe80:')
    await ear.next()
    const before = await counted('wrong_source')
    await agent.ask('attach', { ...m, fresh: true })
    await send(m, FAR.v4, 3_333)
    await send(m, FAR.v6, 60_000)
    for (const to of [FAR.v4, FAR.v6]) {
      const held = await holding(m, 3, to)
      assert.deepEqual([...sources(held)], [to === FAR.v4 ? A.v4 : A.v6])
      for (const [, port, mss] of held.came) {
        assert.equal(port >> 10, 3, `port ${port}`)
        assert.ok(mss <= 1_324, `segments of ${mss} bytes`)
      }
      await held.end()
    }
    const { seen, bad, dropped } = await ear.end<Captured>()
    assert.deepEqual([bad.filter((b) => !b.startsWith(HOST.v6)), dropped], [[], 0])
    assert.ok(seen[`${A.v4} 17 3`] && seen[`${A.v6} 17 3`], JSON.stringify(seen))
    assert.equal(await counted('wrong_source'), before)
    await agent.ask('detach', m.id)
  })

  test('a block holds its 1,024 connections to one destination, and says no at once', async () => {
    const [one, two, none] = [
      machine(1, egress(A, 3)),
      machine(2, egress(A, 4)),
      machine(3, egress(A, 0)),
    ]
    for (const m of [one, two, none]) await agent.ask('attach', { ...m, fresh: true })
    const full = await counted('block_full')
    const held = await Promise.all([one, two, none].map((m) => holding(m, 1_100, FAR.v4)))
    assert.deepEqual(
      held.map((h) => [h.came.length, h.failed]),
      [
        [1_024, 'EADDRNOTAVAIL'],
        [1_024, 'EADDRNOTAVAIL'],
        [1_023, 'EADDRNOTAVAIL'],
      ],
    )
    const all = held.flatMap((h) => h.came.map(([address, port]) => `${address} ${port}`))
    assert.equal(new Set(all).size, all.length, 'no two connections share a port')
    assert.ok(held.every((h, i) => h.came.every(([, port]) => port >> 10 === [3, 4, 0][i])))
    assert.equal(await counted('block_full'), full + 3, 'each block became full once')
    const first = (await agent.ask<EgressCounters>('counters')).full.find(
      ({ address, destination }) => address === one.v4 && destination === FAR.v4,
    )!
    assert.deepEqual([first.protocol, first.port, first.times], ['tcp', PORT, 1])
    assert.ok(Math.abs(first.lastAtMs - Date.now()) < 120_000)
    for (const [to, port] of [
      [FAR.other, PORT],
      [FAR.v4, PORT2],
      [FAR.v6, PORT],
    ] as const) {
      const another = await holding(one, 5, to, port)
      assert.equal(another.came.length, 5, `another destination: ${to}:${port}`)
      await another.end()
    }

    // Who takes other ports than its block's is refused as well, and counted.
    const over = await counted('over_limit')
    await inNamespace(one, 'echo 32768 60999 >/proc/sys/net/ipv4/ip_local_port_range')
    const beyond = await holding(one, 1, FAR.v4)
    assert.deepEqual([beyond.came.length, beyond.failed], [0, 'ECONNREFUSED'])
    assert.equal(await counted('over_limit'), over + 1)
    const { dropped, drops } = await agent.ask<EgressCounters>('counters')
    assert.equal(dropped.over_limit, over + 1)
    assert.ok(drops.some((d) => d.address === one.v4 && d.reason === 'over_limit'))
    for (const h of [...held, beyond]) await h.end()
    for (const m of [one, two, none]) await agent.ask('detach', m.id)
  })

  test(`${MACHINES} machines each hold their full block of one address at once`, async () => {
    const slots = Array.from({ length: MACHINES }, (_, i) => i)
    // One that is full has tens of thousands of connections open: too many for one process.
    await Promise.all(
      Array.from({ length: SINKS }, () => new Peer('internet', 'sink', PORT3).next()),
    )
    const machines = slots.map((slot) => machine(slot + 1, egress(B, slot)))
    for (const m of machines) await agent.ask('attach', { ...m, fresh: true })
    const full = await counted('block_full')
    const held: Awaited<ReturnType<typeof holding>>[] = []
    for (let i = 0; i < MACHINES; i += OPENING_AT_ONCE) {
      const some = machines.slice(i, i + OPENING_AT_ONCE)
      held.push(...(await Promise.all(some.map((m) => holding(m, 1_100, FAR.v4, PORT3)))))
    }
    assert.deepEqual(
      held.map((h) => [h.came.length, h.failed]),
      slots.map((slot) => [slot === 0 ? 1_023 : 1_024, 'EADDRNOTAVAIL']),
    )
    const all = held.flatMap((h) => h.came.map(([address, port]) => `${address} ${port}`))
    assert.equal(all.length, MACHINES * 1_024 - 1)
    assert.equal(new Set(all).size, all.length, 'no two connections share a port')
    assert.ok(all.every((one) => one.startsWith(`${B.v4} `)))
    assert.equal(await counted('block_full'), full + MACHINES, 'each block became full once')
    for (const m of [machines[0]!, machines.at(-1)!]) {
      const another = await holding(m, 5, FAR.other, PORT3)
      assert.equal(another.came.length, 5, 'another destination')
      await another.end()
    }
    for (const h of held) await h.end()
    for (const m of machines) await agent.ask('detach', m.id)
  })

  test('two adjacent slots are one block', async () => {
    const m = machine(1, egress(A, 10, 2))
    await agent.ask('attach', { ...m, fresh: true })
    const held = await holding(m, 2_100, FAR.v4)
    assert.deepEqual([held.came.length, held.failed], [2_048, 'EADDRNOTAVAIL'])
    assert.ok(held.came.every(([, port]) => port >> 11 === 5))
    await held.end()
    await agent.ask('detach', m.id)
  })

  test('default egress: the host’s IPv4, an IPv6 of its own', async () => {
    const [one, two] = [machine(1), machine(2)]
    for (const m of [one, two]) await agent.ask('attach', { ...m, fresh: true })
    for (const m of [one, two]) {
      const [v4, v6] = [await holding(m, 1, FAR.v4), await holding(m, 1, FAR.v6)]
      assert.deepEqual(
        [...sources(v4), ...sources(v6)],
        [HOST.v4, `2001:db8:a000:1::${m.hostSlotName.slice(2)}`],
      )
      assert.match(
        await inNamespace(m, 'cat /proc/sys/net/ipv4/ip_local_port_range'),
        /^32768\s+60999$/,
      )
      await Promise.all([v4.end(), v6.end()])
    }
    for (const m of [one, two]) await agent.ask('detach', m.id)
  })

  test('a family without an address is refused at once, and counted', async () => {
    const m = machine(1, egress({ v4: A.v4 }, 5))
    await agent.ask('attach', { ...m, fresh: true })
    const closed = await counted('closed_family')
    const held = await holding(m, 1, FAR.v6)
    assert.deepEqual([held.came.length, held.failed], [0, 'ECONNREFUSED'])
    assert.ok((await counted('closed_family')) > closed)
    const v4 = await holding(m, 1, FAR.v4)
    assert.deepEqual([...sources(v4)], [A.v4])
    await Promise.all([held.end(), v4.end()])
    await agent.ask('detach', m.id)
  })

  test('moves under load: flows that live go on, new ones take the new source', async () => {
    const stops = [egress(A, 3), egress(B, 7), null, egress(A, 8, 2), egress(B, 3)]
    const m = machine(1, stops[0])
    await agent.ask('attach', { ...m, fresh: true })
    const good = [A.v4, A.v6, B.v4, B.v6, HOST.v4, '2001:db8:a000:1:', HOST.v6, 'fe80:']
    const ear = new Peer('router', 'capture', 'r-host-a', ...good)
    const talk = new Peer(place(m), 'talk', FAR.v4, FAR.v6, PORT)
    await Promise.all([ear.next(), talk.next()])
    await delay(300)
    for (const next of stops.slice(1)) {
      await agent.ask('attach', { ...m, egress: next })
      const held = await holding(m, 1, FAR.v4)
      assert.deepEqual([...sources(held)], [next?.v4 ?? HOST.v4], 'a new flow, right after')
      await held.end()
      await delay(200)
    }
    const told = await talk.end<Talked>()
    for (const [to, began] of [
      [FAR.v4, A.v4],
      [FAR.v6, A.v6],
    ] as const) {
      const { exchanges, problem, source } = told.lasting[to]!
      assert.deepEqual([problem, source![0]], [null, began], 'the first flow lives on')
      assert.ok(exchanges > 20)
      assert.equal(told.brief[to]!.failed, 0, 'no new flow failed')
    }
    const { bad, dropped } = await ear.end<Captured>()
    assert.deepEqual([bad, dropped], [[], 0])
    const blocks = [
      { ...A, pair: 'a', slot: 3, count: 1 },
      { ...B, pair: 'b', slot: 3, count: 1 },
      { ...B, pair: 'b', slot: 20, count: 2 },
    ]
    const drained = await agent.ask<{ slot: number }[]>('drained', blocks)
    assert.deepEqual(
      drained.map(({ slot }) => slot),
      [20],
      'neither what tracked flows use nor what the machine has now',
    )
    await agent.ask('detach', m.id)
    assert.equal((await agent.ask<object[]>('drained', blocks)).length, 3)
  })

  test('a released address is left at once: its flows end, and nothing leaves from it any more', async () => {
    const stops = [egress(A, 3), egress(B, 7)]
    const [moved, stays] = [machine(1, stops[0]), machine(2, egress(A, 4))]
    await agent.ask('hold', [A.v4, A.v6, B.v4, B.v6])
    for (const m of [moved, stays]) await agent.ask('attach', { ...m, fresh: true })
    const talks = [moved, stays].map((m) => new Peer(place(m), 'talk', FAR.v4, FAR.v6, PORT))
    await Promise.all(talks.map((talk) => talk.next()))
    await delay(300)
    await agent.ask('attach', { ...moved, egress: stops[1] })
    await agent.ask('hold', [B.v4, B.v6])
    const ear = new Peer('router', 'capture', 'r-host-a', B.v4, B.v6, HOST.v6, 'fe80:')
    await ear.next()
    await delay(300)
    const [left, closed] = await Promise.all(talks.map((talk) => talk.end<Talked>()))
    const { bad, dropped } = await ear.end<Captured>()
    assert.deepEqual([bad, dropped], [[], 0])
    for (const to of [FAR.v4, FAR.v6])
      for (const told of [left!, closed!]) {
        const { source, problem } = told.lasting[to]!
        assert.equal(source![0], to === FAR.v4 ? A.v4 : A.v6)
        assert.notEqual(problem, null, 'the flow has ended')
      }
    assert.equal(left!.brief[FAR.v4]!.failed, 0, 'new flows have the other address')
    const refused = await holding(stays, 1, FAR.v4)
    assert.deepEqual([refused.came.length, refused.failed], [0, 'ECONNREFUSED'])
    await refused.end()
    for (const m of [moved, stays]) await agent.ask('detach', m.id)
    await agent.ask('hold', [A.v4, A.v6, B.v4, B.v6])
  })

  test('a private address that is used again inherits nothing', async () => {
    const first = machine(1, egress(A, 3))
    await agent.ask('attach', { ...first, fresh: true })
    await send(first, FAR.v4, 3_100)
    await send(first, FAR.v6, 3_100)
    await delay(300)
    await agent.ask('detach', first.id)
    const second = { ...machine(1, egress(A, 9)), id: 'bbbbbbbbbbbb01' }
    const ear = new Peer('router', 'capture', 'r-host-a', A.v4, A.v6, HOST.v6, 'fe80:')
    await ear.next()
    await agent.ask('attach', { ...second, fresh: true })
    await send(second, FAR.v4, 3_100)
    await send(second, FAR.v6, 3_100)
    await delay(300)
    const { seen, bad } = await ear.end<Captured>()
    assert.deepEqual(bad, [])
    for (const source of [A.v4, A.v6]) {
      assert.ok(seen[`${source} 17 9`], JSON.stringify(seen))
      assert.equal(seen[`${source} 17 3`], undefined, 'not the block of the one before')
    }

    // The same when it only moves between two runs.
    await agent.ask('attach', { ...second, egress: egress(B, 9), fresh: true })
    const ear2 = new Peer('router', 'capture', 'r-host-a', B.v4, B.v6, HOST.v6, 'fe80:')
    await ear2.next()
    await send(second, FAR.v4, 3_100)
    await delay(300)
    const again = await ear2.end<Captured>()
    assert.deepEqual(again.bad, [])
    assert.ok(again.seen[`${B.v4} 17 9`], JSON.stringify(again.seen))
    await agent.ask('detach', second.id)
  })

  test('whatever becomes of the table, nothing leaves with a wrong source', async () => {
    const steady = [machine(1, egress(A, 3)), machine(2, egress(B, 4))]
    for (const m of steady) await agent.ask('attach', { ...m, fresh: true })
    const good = [A.v4, A.v6, B.v4, B.v6, HOST.v6, 'fe80:']
    const ear = new Peer('router', 'capture', 'r-host-a', ...good)
    const talks = steady.map((m) => new Peer(place(m), 'talk', FAR.v4, FAR.v6, PORT))
    await Promise.all([ear, ...talks].map((p) => p.next()))
    let over = false
    const vandal = (async () => {
      for (let i = 0; !over; i++) {
        const acts: (() => Promise<unknown>)[] = [
          () => nft('flush', 'chain', 'inet', 'egress', 'source'),
          () => nft('delete', 'table', 'inet', 'egress'),
          () => nft('flush', 'map', 'inet', 'egress', 'addr4'),
          () => nft('flush', 'map', 'inet', 'egress', 'pairs6'),
          () => nft('flush', 'chain', 'inet', 'egress', 'nat_3_1'),
        ]
        await acts[i % acts.length]!().catch(() => {})
        await delay(50)
      }
    })()
    const cycles = 8
    try {
      for (let i = 0; i < cycles; i++) {
        const m = machine(10 + i, egress(A, 20 + i))
        // As a worker does: what cannot be put in force is tried again, and does not start before.
        const attach = () => agent.ask('attach', { ...m, fresh: true })
        await attach().catch(attach).catch(attach)
        const talk = new Peer(place(m), 'talk', FAR.v4, FAR.v6, PORT)
        await talk.next()
        await delay(100)
        await talk.end()
        const detach = () => agent.ask('detach', m.id)
        await detach().catch(detach).catch(detach)
      }
    } finally {
      over = true
    }
    await vandal
    assert.ok((await agent.ask<number>('repairs')) > 0, 'it was noticed and counted')

    await agent.ask('look')
    for (const m of steady) {
      const held = await holding(m, 5, FAR.v4)
      assert.equal(held.came.length, 5, `in force again: ${JSON.stringify(held)}`)
      assert.deepEqual([...sources(held)], [m.egress!.v4])
      await held.end()
    }
    const stopped = await counted('wrong_source', 'egress_guard')
    await nft('delete', 'table', 'inet', 'egress')
    await eventually(
      'the guard alone holds',
      10_000,
      async () => (await counted('wrong_source', 'egress_guard')) > stopped,
    )
    await delay(1_000)
    await agent.ask('look')
    const told = await Promise.all(talks.map((talk) => talk.end<Talked>()))
    for (const [i, t] of told.entries())
      for (const to of [FAR.v4, FAR.v6]) {
        const own = steady[i]!.egress![to === FAR.v4 ? 'v4' : 'v6']!
        assert.deepEqual(Object.keys(t.brief[to]!.sources), [own])
        assert.ok(t.brief[to]!.datagrams > 0)
      }
    const { seen, bad, dropped } = await ear.end<Captured>()
    assert.deepEqual(bad, [], 'not one packet with a wrong source')
    assert.equal(dropped, 0)
    console.log(`${Object.values(seen).reduce((a, b) => a + b, 0)} packets seen, none wrong`)
    for (const m of steady) await agent.ask('detach', m.id)
  })

  test('an agent that is killed leaves it in force; its successor keeps what flows use', async () => {
    const m = machine(4, egress(A, 12))
    await agent.ask('attach', { ...m, fresh: true })
    const talk = new Peer(place(m), 'talk', FAR.v4, FAR.v6, PORT)
    await talk.next()
    await agent.ask('attach', { ...m, egress: egress(B, 13) })
    await agent.kill()
    const held = await holding(m, 1, FAR.v4)
    assert.deepEqual([...sources(held)], [B.v4])
    agent = startAgent()
    await agent.ask('start')
    await agent.ask('attach', { ...m, egress: egress(B, 13) })
    await delay(200)
    const told = await talk.end<Talked>()
    assert.equal(told.lasting[FAR.v4]!.problem, null)
    assert.equal(told.lasting[FAR.v4]!.source![0], A.v4)
    assert.equal(told.brief[FAR.v4]!.failed, 0)
    assert.equal(await agent.ask<number>('repairs'), 0)
    await held.end()
    await agent.ask('detach', m.id)
    const left = await listText('host-a', ['nft', 'list', 'maps', 'inet'])
    assert.match(left, /map gate4/)
    assert.doesNotMatch(left, /172\.16\.0\.[89]\b|fdaa:0:1:a7b:1:0:4:2/)
  })

  /** One datagram, sent when this resolves. */
  const send = (m: { id: string }, to: string, sourcePort: number) =>
    systemExec.run(at(place(m), [...PEER, 'send', to, '9', String(sourcePort)]), {
      timeoutMs: 60_000,
    })

  const inNamespace = async (m: { id: string }, command: string) =>
    (await systemExec.run(at(place(m), ['sh', '-c', command]))).trim()
}
