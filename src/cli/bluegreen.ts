import { type ApiMachine, type ApiRelease, METADATA } from './api-types.ts'
import { becomesHealthy } from './healthy.ts'
import { type HeldMachine, underLeases } from './leases.ts'
import { createMachine, machinePath, waitForState } from './machines.ts'
import { inParallel } from './parallel.ts'
import { dropNew, retireAll } from './retire.ts'
import type { Session } from './session.ts'
import { type RolloutOptions, rests, type Step } from './steps.ts'

/**
 * Makes a new machine beside each old one, out of the rotation, and waits until all are healthy. Then
 * the new ones come into the rotation, the old ones go out of it, finish what they have, and are
 * destroyed. Whatever fails before the switch leaves the old ones as they were and destroys the new
 * ones; after it the new ones serve, and the old ones are taken away in any case; `machines_left`
 * when one of these stays.
 */
export async function bluegreen(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  const ids = steps.flatMap((step) => (step.kind === 'create' ? [] : [step.machine.id]))
  // Nobody else may change the old ones meanwhile.
  await underLeases(session, ids, async (held) => {
    const blue = [...held.values()]
    try {
      const green = await makeGreen(session, asHeld(steps, held), options)
      // Who does not hold the old ones any more could not take them away after the switch.
      await inParallel(blue, ({ lease }) => lease.renew())
      await inParallel(green, async ({ id }) => {
        await session.client.post(machinePath(session, id, 'uncordon'))
      })
      // Only now, so that the next deploy destroys them if this one is killed before they serve.
      await inParallel(green, async ({ id }) => {
        const path = machinePath(session, id, 'metadata', METADATA.bluegreen)
        await session.client.request('DELETE', path)
      })
      session.note(`The new machines are in the rotation (${green.length})`)
    } catch (error) {
      await dropNew(session, release, new Set(ids))
      throw error
    }
    // There is no way back from here: an interrupt does not stop it.
    const said = { state: 'The new machines serve', what: 'machines of the old release' }
    const machines = blue.map(({ machine }) => machine)
    await retireAll(session, machines, said, held)
  })
}

/** The steps with their machines as they are now, without those that are gone. */
const asHeld = (steps: readonly Step[], held: ReadonlyMap<string, HeldMachine>): Step[] =>
  steps.flatMap((step): Step[] => {
    if (step.kind === 'create') return [step]
    const machine = held.get(step.machine.id)?.machine
    return machine ? [{ ...step, machine }] : []
  })

/** The new machines: healthy, cordoned, and at rest where the one that they follow is. */
async function makeGreen(
  session: Session,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<ApiMachine[]> {
  const green: ApiMachine[] = []
  const wanted = steps.filter((step) => step.kind !== 'destroy')
  await inParallel(wanted, async (step) => {
    const machine = await createMachine(session, {
      config: {
        ...step.config,
        metadata: { ...step.config.metadata, [METADATA.bluegreen]: 'true' },
      },
      region: step.kind === 'create' ? step.region : step.machine.region,
      skipServiceRegistration: true,
      ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
    })
    const follows = step.kind === 'update' ? ` beside ${step.machine.id}` : ''
    session.note(`Created machine ${machine.id} in ${machine.region}${follows}`)
    green.push(machine)
  })
  await inParallel(green, (machine) => becomesHealthy(session, machine, options))
  const resting = steps.filter((step) => step.kind === 'update' && rests(step))
  await inParallel(atRest(resting, green), async ({ id }) => {
    await session.client.post(machinePath(session, id, 'stop'), {})
    await waitForState(session, id, 'stopped', { timeoutMs: options.waitTimeoutMs })
  })
  return green
}

/** For each old machine that does not run, a new one of its region and group. */
function atRest(resting: readonly Step[], green: readonly ApiMachine[]): ApiMachine[] {
  const left = [...green]
  return resting.flatMap((step) => {
    if (step.kind !== 'update') return []
    const group = step.config.metadata?.[METADATA.group]
    const at = left.findIndex(
      ({ region, config }) =>
        region === step.machine.region && config.metadata?.[METADATA.group] === group,
    )
    return at < 0 ? [] : left.splice(at, 1)
  })
}
