import { keys } from '../../model/keys.ts'
import type { EgressPair, Machine } from '../../model/resources.ts'
import type { Control } from '../context.ts'

/** Longest a start is held for hosts that lag. */
export const LAUNCH_WAIT_MAX_MS = 2_000

/**
 * Holds a machine's start until every live host of its pair's regions steers its block. One that is
 * not live is not waited for, and after LAUNCH_WAIT_MAX_MS none is: `waiting` are those that lag.
 */
export async function waitForLaunch(
  control: Control,
  machine: Machine,
): Promise<{ waiting: string[] }> {
  const kv = machine.egress && (await control.store.get(keys.egress(machine.egress.pair)))
  if (!kv) return { waiting: [] }
  const { regions } = JSON.parse(kv.value) as EgressPair
  const isConcerned = ({ region }: { region: string }) => regions.includes(region)
  const { waiting } = await control.egressAcks.waitFor(
    kv.modRevision,
    LAUNCH_WAIT_MAX_MS,
    isConcerned,
  )
  if (waiting.length > 0)
    control.log.warn({ machine: machine.id, waiting }, 'launched before all hosts steer its egress')
  return { waiting }
}
