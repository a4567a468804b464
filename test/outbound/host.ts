import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { serveFeedSocket } from '../../src/agent/feed-socket.ts'
import { FeedState } from '../../src/agent/feed-state.ts'
import { systemClock } from '../../src/base/clock.ts'
import { createLogger } from '../../src/base/log.ts'
import { address, RCODE, respond, TYPE } from '../../src/dns/records.ts'
import { startDnsServer } from '../../src/dns/server.ts'
import { applyGuard } from '../../src/egress/guard.ts'
import { createEgressTable } from '../../src/egress/kernel-egress.ts'
import { systemExec } from '../../src/kernel/exec.ts'
import { netnsPath } from '../../src/kernel/ip.ts'
import { openTransparentListeners } from '../../src/kernel/listener.ts'
import { openNftSession } from '../../src/kernel/nft.ts'
import { Unit } from '../../src/kernel/unit.ts'
import { createHostNetwork } from '../../src/mesh/host-network.ts'
import { OUTBOUND_DEVICE, OutboundNetwork, outboundNetns } from '../../src/mesh/outbound-network.ts'
import type { EgressPair, OutboundProxy } from '../../src/model/resources.ts'
import { PORTS } from '../../src/model/wire.ts'
import {
  OUTBOUND_BASE_V6,
  OUTBOUND_PREFIX_V4,
  OUTBOUND_PREFIX_V6,
  placeOn,
} from '../../src/outbound/placement.ts'

/**
 * What of a host the outbound proxy needs: network, translation, resolver, a feed, and the proxy's
 * process as the holder starts it. One JSON request per line, one answer per line.
 */
const { dir, host, wanInterface, publicPrefixes, egressPrefixes, addresses, tls, never } =
  JSON.parse(process.argv[2]!)
const log = createLogger('host')
const nft = openNftSession({ log })
const network = createHostNetwork({
  ...{ exec: systemExec, clock: systemClock, log, host, wanInterface, stateDir: dir },
  ...{ publicPrefixes, protectedPrefixes: never },
  outbound: {
    ...{ addresses, device: OUTBOUND_DEVICE },
    ...{ prefixV4: OUTBOUND_PREFIX_V4, prefixV6: OUTBOUND_PREFIX_V6 },
  },
})
const egress = createEgressTable({
  ...{ exec: systemExec, nft, clock: systemClock, log, wanDevice: wanInterface },
  ...{ hostV4: host.underlayV4, hostV6: host.underlayV6, publicPrefix6: null },
})
const outbound = new OutboundNetwork({
  ...{ exec: systemExec, egress, host: host.id, baseV6: OUTBOUND_BASE_V6 },
})
const state = new FeedState()
/** Answers, one after the other; the last one stays. */
const names = new Map<string, string[][]>()
const records = { proxies: new Map<string, OutboundProxy>(), pairs: new Map<string, EgressPair>() }
let revision = 1
let unit: Unit

const operations: Record<string, (argument: never) => unknown> = {
  start: async () => {
    mkdirSync(dir, { recursive: true })
    const own = [`${host.underlayV4}/32`, `${host.underlayV6}/128`]
    const ownPrefixes = [...own, ...publicPrefixes, ...egressPrefixes]
    await applyGuard(systemExec, { wanDevice: wanInterface, ownPrefixes })
    await network.start()
    await egress.start()
    await startDnsServer({ addresses: ['fdaa::3'], port: 53, handler: answer, log })
    state.apply({ t: 'snapshot' })
    state.apply({ t: 'synced', revision })
    const feedSocket = join(dir, 'feed.sock')
    await serveFeedSocket(feedSocket, state, { events: { line() {}, closed() {} }, log })
    writeFileSync(join(dir, 'outbound.json'), JSON.stringify(configuration(feedSocket)))
    unit = new Unit(
      {
        name: 'outbound',
        argv: [
          ...['nsenter', `--net=${netnsPath(outboundNetns(host.id))}`, process.execPath],
          ...['--disable-warning=ExperimentalWarning'],
          join(import.meta.dirname, '../../src/agent/outbound-main.ts'),
          join(dir, 'outbound.json'),
        ],
        ipc: true,
        fds: openTransparentListeners(PORTS.outbound, 1),
        logFile: join(dir, 'outbound.log'),
      },
      log,
    )
  },
  names: (given: Record<string, string[][]>) => {
    for (const [name, answers] of Object.entries(given)) names.set(name, answers)
  },
  put: async ({
    proxies = [],
    pairs = [],
  }: {
    proxies?: OutboundProxy[]
    pairs?: EgressPair[]
  }) => {
    for (const pair of pairs) records.pairs.set(pair.id, pair)
    for (const proxy of proxies) records.proxies.set(proxy.id, proxy)
    await place()
    revision++
    const events = [
      ...pairs.map((pair) => ['put', `egress/${pair.id}`, pair, revision] as const),
      ...proxies.map((proxy) => ['put', `outbound/${proxy.id}`, proxy, revision] as const),
    ]
    state.apply({ t: 'events', revision, events })
    if (unit.state === 'stopped') unit.start()
    await unit.waitReady(60_000)
  },
  /** Destroys proxies with their pairs. */
  delete: async (ids: string[]) => {
    const gone = ids.flatMap((id) => {
      const { pairs } = records.proxies.get(id)!
      records.proxies.delete(id)
      for (const pair of pairs) records.pairs.delete(pair)
      return [...pairs.map((pair) => `egress/${pair}`), `outbound/${id}`]
    })
    await place()
    revision++
    const events = gone.map((key) => ['delete', key] as const)
    state.apply({ t: 'events', revision, events })
  },
  kill: async () => {
    unit.kill({ keepDown: false })
    await new Promise((resolve) => setTimeout(resolve, 50))
    await unit.waitReady(60_000)
  },
}

const place = () =>
  outbound.apply(
    [...records.proxies.values()].flatMap((proxy) =>
      placeOn(host.id, proxy, (id) => records.pairs.get(id)),
    ),
  )

const configuration = (feedSocket: string) => ({
  ...{ host: host.id, replica: join(dir, 'replica.db'), feedSocket, listenFd: 4, workers: 2 },
  ...{ resolvers: ['fdaa::3'], tls, drainMs: 100 },
  neverPrefixes: [...never, ...addresses.map((a: string) => `${a}/${a.includes(':') ? 128 : 32}`)],
  requestLog: join(dir, 'requests.log'),
  metricsSocket: join(dir, 'metrics.sock'),
})

function answer(query: Parameters<typeof respond>[0]) {
  const question = query.questions[0]!
  const turns = names.get(question.name.toLowerCase())
  if (!turns) return respond(query, { rcode: RCODE.NXDOMAIN })
  const family = question.type === TYPE.A ? 4 : 6
  const texts = turns.length > 1 && family === 4 ? turns.shift()! : turns[0]!
  const answers = texts
    .filter((text) => text.includes(':') === (family === 6))
    .map((text) => address(question.name, 1, text))
  return respond(query, { answers })
}

for await (const line of createInterface({ input: process.stdin })) {
  const { op, argument } = JSON.parse(line)
  try {
    console.log(JSON.stringify({ ok: (await operations[op]!(argument as never)) ?? null }))
  } catch (error) {
    console.log(JSON.stringify({ error: String((error as Error).stack) }))
  }
}
process.exit(0)
