import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAnnouncer } from '../anycast/announcer.ts'
import { systemClock } from '../base/clock.ts'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { createLogger, type Logger } from '../base/log.ts'
import { systemExec } from '../kernel/exec.ts'
import { type NftSession, openNftSession } from '../kernel/nft.ts'
import { createMachineManager } from '../machine/manager.ts'
import { createHostNetwork } from '../mesh/host-network.ts'
import { createMachineNetwork } from '../mesh/machine-network.ts'
import type { Machine } from '../model/resources.ts'
import { Agent } from './agent.ts'
import { type AgentConfig, readAgentConfig } from './config.ts'
import { ControlClient } from './control-client.ts'
import { artifactDownloads } from './downloads.ts'
import type { Announcer, HostNetwork, MachineManager } from './parts.ts'

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
const agent = new Agent({
  ...{ hostId: config.host.id, region: config.host.region },
  ...{ stateDir: config.stateDir, runDir: config.runDir },
  ...{ client, clock: systemClock, random, log },
  network: createNetwork(config, log),
  machines: createMachines(config, client, nft, log),
  announcer: createAnnouncements(config, log),
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
    bgpPeers: of.bgpPeers,
  })
}

function createAnnouncements({ bird }: AgentConfig, logger: Logger): Announcer {
  if (!bird) return { apply: () => {} }
  return createAnnouncer({ exec: systemExec, clock: systemClock, log: logger, ...bird })
}

function createMachines(
  of: AgentConfig,
  control: ControlClient,
  session: NftSession,
  logger: Logger,
): MachineManager {
  return createMachineManager({
    host: { ...of.host, meshPublicKey: null },
    ...{ stateDir: of.stateDir, runDir: of.runDir, exec: systemExec, log: logger },
    network: createMachineNetwork({ exec: systemExec, nft: session }),
    launch: (machine: Machine) => control.launch(machine.id, machine.instanceId),
    artifact: artifactDownloads(join(of.stateDir, 'downloads'), (digest, file) =>
      control.artifact(digest, file),
    ),
    ...{ appsDomain: of.appsDomains[0]!, region: of.host.region, clock: systemClock, random },
    ...{ nodePath: of.machineNodePath, resolvers: of.machineResolvers, cgroupRoot: of.cgroupRoot },
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
