import { type AdviceAddress, egressAdvice } from '../model/egress-advice.ts'
import { type EgressIp, listEgress } from './egress-api.ts'
import { GONE, listMachines } from './machines.ts'
import { currentRelease } from './releases.ts'
import type { Session } from './session.ts'

export interface AdviceOptions {
  /** The deploy's strategy; else that of fly.toml, else of the current release. */
  readonly strategy?: string | undefined
  /** The app's egress addresses where the caller has just read them. */
  readonly egress?: readonly EgressIp[]
}

/**
 * Warnings about the app's egress addresses (E7), on stderr. Never fails: it comes beside a command
 * that has done its work.
 */
export async function printEgressAdvice(session: Session, options: AdviceOptions = {}) {
  try {
    const egress = options.egress ?? (await listEgress(session))
    const ofApp = egress.filter((row) => row.machine_id === null && row.state === 'active')
    if (ofApp.length === 0) return
    // Machines with addresses of their own need no room on those of the app.
    const served = new Set(egress.map((row) => row.machine_id))
    const [machines, strategy] = await Promise.all([
      listMachines(session),
      options.strategy ?? strategyOf(session),
    ])
    const lines = egressAdvice({
      app: session.app,
      addresses: ofApp.map(adviceAddress),
      machines: machines.filter((one) => !GONE.has(one.state) && !served.has(one.id)),
      strategy: strategy?.toLowerCase(),
    })
    for (const line of lines) session.note(`Warning: ${line}`)
  } catch {
    // What went wrong is said by the next command that needs it.
  }
}

const adviceAddress = (row: EgressIp): AdviceAddress => ({
  version: row.version,
  regions: row.regions,
  kept: row.pin !== null,
  machines: row.machines.flatMap((machine) => machine.id ?? []),
})

async function strategyOf(session: Session): Promise<string | undefined> {
  const local = session.config?.config.deploy?.strategy
  if (local !== undefined) return local
  const definition = (await currentRelease(session))?.configDefinition
  const deploy = definition?.deploy as { strategy?: string } | undefined
  return deploy?.strategy
}
