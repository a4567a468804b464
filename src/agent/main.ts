import { mkdirSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAnnouncer } from '../anycast/announcer.ts'
import { systemClock } from '../base/clock.ts'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { createLogger, type Logger } from '../base/log.ts'
import type { EgressTable } from '../egress/egress-table.ts'
import { createEgressTable } from '../egress/kernel-egress.ts'
import { createOverlay } from '../egress/overlay.ts'
import { EgressWatch } from '../egress/watch.ts'
import { systemExec } from '../kernel/exec.ts'
import { netnsPath } from '../kernel/ip.ts'
import { type NftSession, openNftSession } from '../kernel/nft.ts'
import { createMachineManager } from '../machine/manager.ts'
import { defaultV6 } from '../machine/slot.ts'
import type { OutboundFirewall } from '../mesh/firewall.ts'
import { createHostNetwork } from '../mesh/host-network.ts'
import { createMachineNetwork } from '../mesh/machine-network.ts'
import { deviceOf, netnsOf } from '../mesh/machines.ts'
import { OUTBOUND_DEVICE, OutboundNetwork } from '../mesh/outbound-network.ts'
import type { Machine } from '../model/resources.ts'
import { OUTBOUND_BASE_V6, OUTBOUND_PREFIX_V4, OUTBOUND_PREFIX_V6 } from '../outbound/placement.ts'
import { Agent } from './agent.ts'
import { type AgentConfig, readAgentConfig } from './config.ts'
import { ControlClient } from './control-client.ts'
import { artifactDownloads } from './downloads.ts'
import { EDGE_SOCKET } from './edge-config.ts'
import { createEdgeProbe } from './edge-probe.ts'
import { createHostEgress } from './host-egress.ts'
import { InstanceMetrics } from './instance-metrics.ts'
import type { Announcer, HostEgress, HostNetwork, MachineManager } from './parts.ts'

/**
 * The agent process: `main.ts <configuration.json>`. Says `{t:'ready'}` to its parent when the network
 * is in force and a state is known. SIGTERM ends it, and nothing that it has started.
 */
const CLOSE_MS_MAX = 5_000

const config = readAgentConfig(process.argv[2])
const log = createLogger('agent').child({ host: config.host.id })
const random = Math.random
let isClosing = false

for (const folder of [config.stateDir, config.runDir])
  mkdirSync(folder, { recursive: true, mode: 0o700 })

const client = createClient(config)
const nft = openNftSession({ log })
const table = createEgressTable({
  ...{ exec: systemExec, nft, clock: systemClock, log, wanDevice: config.wanInterface },
  ...{ hostV4: config.host.underlayV4, hostV6: config.host.underlayV6 },
  publicPrefix6: config.machinesV6,
})
const instances = new InstanceMetrics({
  ...{ host: config.host.id, region: config.host.region, deviceOf },
  readDevices: () => readFile('/proc/net/dev', 'utf8'),
})
const machines = createMachines(config, client, { nft, table }, log)
const agent = new Agent({
  ...{ hostId: config.host.id, region: config.host.region },
  ...{ stateDir: config.stateDir, runDir: config.runDir },
  ...{ client, clock: systemClock, random, log },
  network: createNetwork(config, log),
  egress: createEgress(config, table, log),
  machines,
  announcer: createAnnouncements(config, log),
  egressWatch: createEgressWatch(config, machines, log),
  instances,
  edge: createEdgeProbe(join(config.runDir, EDGE_SOCKET)),
})

process.on('SIGTERM', () => void close())
process.on('SIGINT', () => void close())
process.on('disconnect', () => void close())

await agent.start()
process.send?.({ t: 'ready' })
keepCompiled()
log.info('ready')

function createClient({ controlUrls, tls }: AgentConfig): ControlClient {
  const [ca, cert, key] = [tls.ca, tls.cert, tls.key].map((path) => readFileSync(path, 'utf8'))
  return new ControlClient({
    urls: controlUrls,
    tls: {
      ...{ ca: ca!, cert: cert!, key: key! },
      ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
    },
  })
}

function createNetwork(of: AgentConfig, logger: Logger): HostNetwork {
  return createHostNetwork({
    ...{ exec: systemExec, clock: systemClock, log: logger, host: of.host },
    ...{ wanInterface: of.wanInterface, stateDir: of.stateDir },
    ...{ publicPrefixes: of.publicPrefixes, protectedPrefixes: of.protectedPrefixes },
    ...{ bgpPeers: of.bgpPeers, nameServers: of.nameServerAddresses },
    ...(of.outboundAddresses.length > 0 ? { outbound: outboundFirewall(of) } : {}),
  })
}

function createEgress(of: AgentConfig, egressTable: EgressTable, logger: Logger): HostEgress {
  const own = of.machinesV6 === null ? [] : [of.machinesV6]
  const overlay = createOverlay({
    ...{ exec: systemExec, hostIndex: of.host.index, wanDevice: of.wanInterface },
    egressPrefixes: [...of.egressPrefixes, ...own],
  })
  const outbound =
    of.outboundAddresses.length > 0
      ? new OutboundNetwork({
          ...{ exec: systemExec, egress: egressTable, host: of.host.id },
          baseV6: OUTBOUND_BASE_V6,
        })
      : undefined
  const onOutbound = (isWanted: boolean) => process.send?.({ t: 'outbound', isWanted })
  return createHostEgress({
    ...{ host: of.host, table: egressTable, overlay, outbound, onOutbound },
    ...{ clock: systemClock, log: logger },
  })
}

function outboundFirewall(of: AgentConfig): OutboundFirewall {
  return {
    ...{ addresses: of.outboundAddresses, device: OUTBOUND_DEVICE },
    ...{ prefixV4: OUTBOUND_PREFIX_V4, prefixV6: OUTBOUND_PREFIX_V6 },
  }
}

function createAnnouncements({ bird }: AgentConfig, logger: Logger): Announcer {
  if (!bird) return { apply: () => {} }
  return createAnnouncer({ exec: systemExec, clock: systemClock, log: logger, ...bird })
}

function createMachines(
  of: AgentConfig,
  control: ControlClient,
  kernel: { readonly nft: NftSession; readonly table: EgressTable },
  logger: Logger,
): MachineManager {
  return createMachineManager({
    host: { ...of.host, meshPublicKey: null },
    ...{ stateDir: of.stateDir, runDir: of.runDir, exec: systemExec, log: logger },
    network: createMachineNetwork({
      ...{ exec: systemExec, nft: kernel.nft, egress: kernel.table },
      publicPrefix6: of.machinesV6,
    }),
    machinesV6: of.machinesV6,
    launch: (machine: Machine) => control.launch(machine.id, machine.instanceId),
    artifact: artifactDownloads(join(of.stateDir, 'downloads'), (digest, file) =>
      control.artifact(digest, file),
    ),
    ...{ appsDomain: of.appsDomains[0]!, region: of.host.region, clock: systemClock, random },
    ...{ nodePath: of.machineNodePath, resolvers: of.machineResolvers, cgroupRoot: of.cgroupRoot },
  })
}

function createEgressWatch(of: AgentConfig, manager: MachineManager, logger: Logger): EgressWatch {
  return new EgressWatch({
    ...{ host: of.host.id, region: of.host.region, exec: systemExec },
    socket: join(of.runDir, 'egress.sock'),
    defaultSource: ({ v4 }) => ({
      v4: of.host.underlayV4,
      v6: defaultV6(v4, of.machinesV6) ?? of.host.underlayV6,
    }),
    ...{ clock: systemClock, random, log: logger },
    netnsOf: (machine) => netnsPath(netnsOf(machine)),
    resolvers: of.machineResolvers,
    appsDomains: of.appsDomains,
    protectedPrefixes: of.protectedPrefixes,
    onLine: (line) => manager.edgeLog(line),
    reconciles: () => table.repairs,
    instances: () => instances.render(),
  })
}

async function close(): Promise<void> {
  if (isClosing) return
  isClosing = true
  setTimeout(() => process.exit(1), CLOSE_MS_MAX)
  try {
    await agent.close()
    nft.close()
    process.exit(0)
  } catch (error) {
    log.error({ error: messageOf(error) }, 'the agent did not end cleanly')
    process.exit(1)
  }
}
