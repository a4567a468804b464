import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hostConfig, servingText } from '../anycast/bird.ts'
import { createBirdFiles, createBirdFileWriter } from '../anycast/bird-files.ts'
import { systemClock } from '../base/clock.ts'
import { keepCompiled } from '../base/compiled.ts'
import { createLogger } from '../base/log.ts'
import { applyGuard, type Guard } from '../egress/guard.ts'
import { systemExec } from '../kernel/exec.ts'
import { netnsPath } from '../kernel/ip.ts'
import { openTransparentListeners } from '../kernel/listener.ts'
import { Unit, type UnitStatus } from '../kernel/unit.ts'
import { outboundNetns } from '../mesh/outbound-network.ts'
import { meshAddress, PORTS } from '../model/wire.ts'
import { EDGE_SOCKET } from './edge-config.ts'
import { HolderConfig } from './holder-config.ts'

/**
 * The parent of everything that Fairway runs on a host, except machines. It opens the public
 * listening sockets, so that they outlive any edge, and keeps its units running. It reads no network
 * input and keeps no state, so that there is little to crash; if it does, its units end with it and
 * machines go on.
 *
 * What a service manager with socket activation would do on a host of a fleet.
 */
const config = HolderConfig.parse(JSON.parse(readFileSync(process.argv[2]!, 'utf8')))
const log = createLogger('holder').child({ host: config.host.id })

const WAN = 'wan'
/** The edge may miss heartbeats for so long before it is killed and restarted. */
const EDGE_ALIVE_MS = 8_000
/** An edge that has been away for so long no longer deserves traffic: announcements end. */
const EDGE_AWAY_MAX_MS = 1_000
/** The same for the outbound proxy. */
const OUTBOUND_DRAIN_MS = 30_000
/** Longest drain of an edge that is being replaced (L10 gives 10 minutes; the small internet is impatient). */
const EDGE_DRAIN_MS = 30_000

mkdirSync(config.runDir, { recursive: true, mode: 0o700 })
mkdirSync(join(config.stateDir, 'agent'), { recursive: true, mode: 0o700 })

const birdControl = join(config.runDir, 'bird.ctl')
const birdFiles = {
  serving: join(config.runDir, 'serving.conf'),
  v4: join(config.runDir, 'announce4.conf'),
  v6: join(config.runDir, 'announce6.conf'),
  egress4: join(config.runDir, 'announce-egress4.conf'),
  egress6: join(config.runDir, 'announce-egress6.conf'),
}
// Before anything forwards: whatever becomes of the agent, no packet leaves with a foreign source.
await applyGuard(systemExec, guard())
const units = makeUnits()
announceWhileServing(units)
if (config.outbound) serveOutbound(units)
for (const name of ['agent', 'dns', 'edge'] as const) units[name].start()
if (config.nameServerAddresses.length > 0) units.nameserver.start()

process.on('message', (message: HolderRequest) => void handle(message))
process.on('SIGTERM', () => void close())
process.send?.({ t: 'ready' })
keepCompiled()

function guard(): Guard {
  const { host, announce, egress } = config
  const own = [`${host.underlayV4}/32`, `${host.underlayV6}/128`, egress.machinesV6]
  return { wanDevice: WAN, ownPrefixes: [...own, ...announce, ...egress.prefixes] }
}

type UnitName = keyof typeof units

interface HolderRequest {
  readonly id: number
  readonly action: 'status' | 'start' | 'stop' | 'kill' | 'restart'
  readonly unit?: string
  readonly keepDown?: boolean
}

async function handle(request: HolderRequest): Promise<void> {
  const reply = (body: object) => process.send?.({ t: 'reply', id: request.id, ...body })
  try {
    if (request.action === 'status') {
      reply({ units: Object.values(units).map((u): UnitStatus => u.status) })
      return
    }
    const unit = units[request.unit as UnitName]
    if (!unit)
      throw new Error(`no unit ${request.unit}; there are ${Object.keys(units).join(', ')}`)
    if (request.action === 'start') unit.start()
    else if (request.action === 'stop') await unit.stop({ hold: true })
    else if (request.action === 'kill') unit.kill({ keepDown: request.keepDown === true })
    else await unit.replace()
    reply({ ok: true })
  } catch (error) {
    reply({ error: String((error as Error).message) })
  }
}

function makeUnits() {
  const node = (main: string, path: string) => [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, main),
    path,
  ]
  const logFile = (name: string) => join(config.logDir, `${name}.log`)
  const fds = openTransparentListeners(PORTS.edge, config.edgeWorkers)
  const agentFile = write('agent.json', agentConfig())
  const edgeFile = write('edge.json', edgeConfig(fds.length))
  const { appsDomains } = config
  const egressSocket = join(config.runDir, 'egress.sock')
  const dns = { listen: ['fdaa::3'], upstreams: config.resolvers, appsDomains, egressSocket }
  const dnsFile = write('dns.json', dns)
  const nameserverFile = write('nameserver.json', {
    ...{ listen: config.nameServerAddresses, appsDomains },
  })
  createBirdFiles(birdFiles)
  const egress = [...config.egress.announce, config.egress.machinesV6]
  const birdFile = write(
    'bird.conf',
    hostConfig({ ...config.bird, announce: config.announce, egress, files: birdFiles }),
  )
  const unit = (
    name: string,
    rest: Omit<ConstructorParameters<typeof Unit>[0], 'name' | 'logFile'>,
  ) => new Unit({ name, logFile: logFile(name), ...rest }, log)
  return {
    agent: unit('agent', { argv: node('main.ts', agentFile), ipc: true }),
    dns: unit('dns', { argv: node('dns-main.ts', dnsFile), ipc: true }),
    nameserver: unit('nameserver', {
      argv: node('nameserver-main.ts', nameserverFile),
      ipc: true,
    }),
    edge: unit('edge', {
      argv: node('edge-main.ts', edgeFile),
      ipc: true,
      fds,
      aliveMs: EDGE_ALIVE_MS,
      graceMs: EDGE_DRAIN_MS + 5_000,
    }),
    outbound: unit('outbound', {
      // In a namespace of its own, which the agent makes; its listener is this one's.
      argv: [
        ...['nsenter', `--net=${netnsPath(outboundNetns(config.host.id))}`],
        ...node('outbound-main.ts', write('outbound.json', outboundConfig())),
      ],
      ipc: true,
      fds: config.outbound ? openTransparentListeners(PORTS.outbound, 1) : [],
      aliveMs: EDGE_ALIVE_MS,
      graceMs: OUTBOUND_DRAIN_MS + 5_000,
    }),
    bird: unit('bird', {
      argv: ['bird', '-f', '-c', birdFile, '-s', birdControl],
    }),
  }
}

/**
 * BIRD runs once the agent has put the network in force (the kernel keeps it when the agent goes), and
 * announces static sources from then on. The pools are announced while the edge serves. A unit that
 * somebody stopped on purpose stays down.
 */
function announceWhileServing({ agent, edge, bird }: ReturnType<typeof makeUnits>): void {
  let away: NodeJS.Timeout | undefined
  const files = createBirdFileWriter({
    ...{ exec: systemExec, clock: systemClock, log, control: birdControl, attempts: 2 },
    // One that hangs goes on announcing what no edge answers; its successor reads the files.
    onUntold: () => bird.kill({ keepDown: false }),
  })
  const setServing = (isServing: boolean) =>
    files.submit({ [birdFiles.serving]: servingText(isServing) })
  agent.onState((state) => {
    if (state === 'ready' && !bird.held) bird.start()
  })
  edge.onState((state) => {
    if (state === 'ready') {
      clearTimeout(away)
      away = undefined
      setServing(true)
    } else away ??= setTimeout(withdraw, EDGE_AWAY_MAX_MS)
  })
  const withdraw = () => {
    if (edge.state === 'ready') return
    log.error('the edge is away; withdrawing the pools')
    setServing(false)
  }
}

/** While the agent says that the host has a part in an outbound proxy; whether it lives on or not. */
function serveOutbound({ agent, outbound }: ReturnType<typeof makeUnits>): void {
  let wanted = false
  agent.onMessage = async ({ t, isWanted }) => {
    if (t !== 'outbound' || outbound.held) return
    wanted = isWanted === true
    if (!wanted) await outbound.stop()
    if (wanted && outbound.state === 'stopped') outbound.start()
  }
}

function outboundConfig(): object {
  const own = (config.outbound?.addresses ?? []).map((a) => `${a}/${a.includes(':') ? 128 : 32}`)
  return {
    host: config.host.id,
    replica: join(config.stateDir, 'agent', 'replica.db'),
    feedSocket: join(config.runDir, 'feed.sock'),
    listenFd: 4,
    workers: config.outbound?.workers ?? 1,
    resolvers: ['fdaa::3'],
    neverPrefixes: [...config.protectedPrefixes, ...own],
    tls: config.outbound?.tls ?? null,
    drainMs: OUTBOUND_DRAIN_MS,
    requestLog: join(config.logDir, 'outbound-requests.log'),
    metricsSocket: join(config.runDir, 'outbound-metrics.sock'),
  }
}

function agentConfig(): object {
  return {
    host: config.host,
    stateDir: join(config.stateDir, 'agent'),
    runDir: config.runDir,
    controlUrls: config.controlUrls,
    tls: config.tls,
    appsDomains: config.appsDomains,
    publicPrefixes: config.announce,
    egressPrefixes: config.egress.prefixes,
    machinesV6: config.egress.machinesV6,
    protectedPrefixes: config.protectedPrefixes,
    nameServerAddresses: config.nameServerAddresses,
    outboundAddresses: config.outbound?.addresses ?? [],
    bgpPeers: [config.bird.routerV4, config.bird.routerV6],
    wanInterface: WAN,
    worldResolvers: config.resolvers,
    machineNodePath: process.execPath,
    cgroupRoot: config.cgroupRoot,
    bird: { control: birdControl, files: birdFiles },
  }
}

function edgeConfig(listeners: number): object {
  const { accessLog, traces } = config.observe
  return {
    host: config.host.id,
    region: config.host.region,
    index: config.host.index,
    replica: join(config.stateDir, 'agent', 'replica.db'),
    feedSocket: join(config.runDir, 'feed.sock'),
    listenFds: Array.from({ length: listeners }, (_, i) => 4 + i),
    appsDomains: config.appsDomains,
    meshAddress: meshAddress(config.host.index),
    backhaulPort: PORTS.backhaul,
    workers: listeners,
    drainMs: EDGE_DRAIN_MS,
    metricsSocket: join(config.runDir, EDGE_SOCKET),
    accessLog: accessLog && { ...accessLog, path: join(config.logDir, 'access.log') },
    traces,
  }
}

function write(name: string, content: object | string): string {
  const path = join(config.runDir, name)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content), {
    mode: 0o600,
  })
  return path
}

async function close(): Promise<never> {
  // Announcements first, so that routers send no new connections to what is about to end.
  await units.bird.close()
  const { edge, dns, nameserver, agent, outbound } = units
  await Promise.all([edge, dns, nameserver, agent, outbound].map((unit) => unit.close()))
  process.exit(0)
}
