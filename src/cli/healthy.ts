import type { LogLine } from '../model/wire.ts'
import { type ApiMachine, groupOf } from './api-types.ts'
import { plainMessage } from './log-text.ts'
import { assertAlive, getMachine, waitForChecks, waitForState } from './machines.ts'
import type { Session } from './session.ts'

export interface HealthOptions {
  readonly waitTimeoutMs: number
  readonly smokeChecks: boolean
}

/** How long a machine without checks must stay up to count as started. */
const SMOKE_MS = 1_500
const LAST_LINES = 10

/**
 * Waits until a machine runs, stays up and passes its checks. When it does not, its last lines are
 * shown, since it may soon be gone, and the error says which machine and why.
 */
export async function becomesHealthy(
  session: Session,
  machine: ApiMachine,
  { waitTimeoutMs, smokeChecks }: HealthOptions,
): Promise<void> {
  const { id } = machine
  try {
    const started = waitForState(session, id, 'started', {
      timeoutMs: waitTimeoutMs,
      instanceId: machine.instance_id,
    })
    await session.during(`Waiting for machine ${id} to start`, started)
    if (hasChecks(machine)) {
      const checks = waitForChecks(session, id, waitTimeoutMs)
      await session.during(`Waiting for the checks of machine ${id}`, checks)
    } else if (smokeChecks) {
      await session.io.clock.sleep(SMOKE_MS, session.io.signal)
      assertAlive(await getMachine(session, id))
    }
  } catch (error) {
    if (!session.io.signal.aborted) await noteLastLines(session, id)
    throw error
  }
  session.note(`Machine ${id} is up${hasChecks(machine) ? ' and passes its checks' : ''}`)
}

const hasChecks = ({ config }: ApiMachine): boolean =>
  Object.keys(config.checks ?? {}).length > 0 ||
  (config.services ?? []).some((service) => service.checks?.length)

async function noteLastLines(session: Session, id: string): Promise<void> {
  const query = { tail: LAST_LINES, machine: id }
  try {
    for await (const text of session.client.lines(`/api${session.appPath('logs')}`, query)) {
      session.note(`  ${id} | ${plainMessage(JSON.parse(text) as LogLine)}`)
    }
  } catch {
    // The error of the machine says more than that of its log.
  }
}

/** `machine 1234 (iad, web)`. */
export const describe = (machine: ApiMachine): string =>
  `machine ${machine.id} (${machine.region}${groupOf(machine) ? `, ${groupOf(machine)}` : ''})`
