import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAnnounceFiles } from '../anycast/announcer.ts'
import { hostConfig } from '../anycast/bird.ts'
import { keepCompiled } from '../base/compiled.ts'
import { createLogger } from '../base/log.ts'
import { openTransparentListeners } from '../kernel/listener.ts'
import { Unit, type UnitStatus } from '../kernel/unit.ts'
import { meshAddress, PORTS } from '../model/wire.ts'
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

/** The edge may miss heartbeats for so long before it is killed and restarted. */
const EDGE_ALIVE_MS = 3_000
/** An edge that has been away for so long no longer deserves traffic: announcements end. */
const EDGE_AWAY_MAX_MS = 1_000
/** Longest drain of an edge that is being replaced (L10 gives 10 minutes; the small internet is impatient). */
const EDGE_DRAIN_MS = 30_000

mkdirSync(config.runDir, { recursive: true, mode: 0o700 })
mkdirSync(join(config.stateDir, 'agent'), { recursive: true, mode: 0o700 })

const birdControl = join(config.runDir, 'bird.ctl')
const announceFiles = {
  v4: join(config.runDir, 'announce4.conf'),
  v6: join(config.runDir, 'announce6.conf'),
}
const units = makeUnits()
announceWhileServing(units)
for (const name of ['agent', 'dns', 'edge'] as const) units[name].start()

process.on('message', (message: HolderRequest) => void handle(message))
process.on('SIGTERM', () => void close())
process.send?.({ t: 'ready' })
keepCompiled()

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
  const dnsFile = write('dns.json', { listen: ['fdaa::3'], upstreams: config.resolvers })
  createAnnounceFiles(announceFiles)
  const birdFile = write(
    'bird.conf',
    hostConfig({ ...config.bird, announce: config.announce, files: announceFiles }),
  )
  const unit = (
    name: string,
    rest: Omit<ConstructorParameters<typeof Unit>[0], 'name' | 'logFile'>,
  ) => new Unit({ name, logFile: logFile(name), ...rest }, log)
  return {
    agent: unit('agent', { argv: node('main.ts', agentFile), ipc: true }),
    dns: unit('dns', { argv: node('dns-main.ts', dnsFile), ipc: true }),
    edge: unit('edge', {
      argv: node('edge-main.ts', edgeFile),
      ipc: true,
      fds,
      aliveMs: EDGE_ALIVE_MS,
      graceMs: EDGE_DRAIN_MS + 5_000,
    }),
    bird: unit('bird', {
      argv: ['bird', '-f', '-c', birdFile, '-s', birdControl],
    }),
  }
}

/**
 * Addresses are announced while the edge serves, after the agent has put the network in force once
 * (the kernel keeps it when the agent goes). A unit that somebody stopped on purpose stays down.
 */
function announceWhileServing({ agent, edge, bird }: ReturnType<typeof makeUnits>): void {
  let networkInForce = false
  let away: NodeJS.Timeout | undefined
  const announce = () => {
    if (!networkInForce || edge.state !== 'ready') return
    clearTimeout(away)
    away = undefined
    if (!bird.held) bird.start()
  }
  agent.onState((state) => {
    networkInForce ||= state === 'ready'
    announce()
  })
  edge.onState((state) => {
    if (state === 'ready') announce()
    else away ??= setTimeout(withdraw, EDGE_AWAY_MAX_MS)
  })
  const withdraw = () => {
    if (edge.state === 'ready') return
    log.error('the edge is away; withdrawing announcements')
    void bird.stop()
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
    protectedPrefixes: config.protectedPrefixes,
    bgpPeers: [config.bird.routerV4, config.bird.routerV6],
    wanInterface: 'wan',
    worldResolvers: config.resolvers,
    machineNodePath: process.execPath,
    cgroupRoot: config.cgroupRoot,
    bird: { control: birdControl, files: announceFiles },
  }
}

function edgeConfig(listeners: number): object {
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
    metricsSocket: join(config.runDir, 'edge-metrics.sock'),
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
  await Promise.all([units.edge.close(), units.dns.close(), units.agent.close()])
  process.exit(0)
}
