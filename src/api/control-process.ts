import { mkdirSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { join } from 'node:path'
import { systemClock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import { sweepArtifacts } from '../control/artifacts.ts'
import { type Ca, issueServerCertificate, loadOrCreateCa } from '../control/ca.ts'
import type { ControlConfig } from '../control/config.ts'
import { HostAckTable } from '../control/host-acks.ts'
import { type FleetState, startFleetState } from '../control/machines/fleet-state.ts'
import { HostLiveness } from '../control/machines/hosts.ts'
import { TombLeases } from '../control/machines/report.ts'
import { startMaintenance } from '../control/maintenance.ts'
import { loadOrCreateSealer } from '../control/seal.ts'
import { openSqliteStore, type SqliteStore } from '../store/sqlite/sqlite-store.ts'
import { AgentCalls } from './agent-calls.ts'
import { type AgentsContext, buildAgentsServer } from './agents.ts'
import { createMetrics } from './metrics.ts'
import { ensureToken, seed } from './seed.ts'
import { buildApi } from './server.ts'

/** The control plane as one running thing: store, API, agents' server. */
export interface ControlProcess {
  readonly apiPort: number
  readonly agentsPort: number
  /** Signs the certificates of hosts. */
  readonly ca: Ca
  readonly context: AgentsContext
  close(): Promise<void>
}

/** Everything is served from the store, so a start after kill -9 is like any other. */
export async function startControl(config: ControlConfig, log: Logger): Promise<ControlProcess> {
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 })
  const store = await openSqliteStore(join(config.stateDir, 'control.db'))
  const base = { store, config, log, clock: systemClock, random: Math.random }
  const state = await startFleetState(base)
  const context = createContext({ ...base, sealer: loadOrCreateSealer(config.stateDir) }, state)
  const ca = await loadOrCreateCa(config.stateDir)
  await seed(context)
  await ensureToken(context)
  await sweepArtifacts(context)
  const api = buildApi(context)
  const agents = buildAgentsServer(context, await issueServerCertificate(ca, config.agents.names))
  await agents.listen(config.agents)
  await api.listen(config.api)
  const maintenance = startMaintenance(context)
  return {
    apiPort: portOf(api.server),
    agentsPort: portOf(agents.server),
    ca,
    context,
    close: async () => {
      await Promise.all([api.close(), agents.close(), maintenance.close()])
      await state.stop()
      await store.close()
    },
  }
}

type Base = Pick<AgentsContext, 'config' | 'log' | 'clock' | 'random' | 'sealer'> & {
  readonly store: SqliteStore
}

function createContext(base: Base, { fleet, hub }: FleetState): AgentsContext {
  const acks = () => new HostAckTable(() => fleet.liveRecords(), base.clock)
  const control = { ...base, edges: acks(), egressAcks: acks(), fleet, hub }
  return {
    ...control,
    calls: new AgentCalls(base.clock),
    metrics: createMetrics(fleet),
    liveness: new HostLiveness(control),
    tombs: new TombLeases(),
  }
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port
