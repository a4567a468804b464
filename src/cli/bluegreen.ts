import { messageOf } from '../base/errors.ts'
import { type ApiMachine, type ApiRelease, METADATA } from './api-types.ts'
import { becomesHealthy, describe } from './healthy.ts'
import { createMachine, listMachines, machinePath, underLeases, waitForState } from './machines.ts'
import { inParallel } from './parallel.ts'
import { retire } from './retire.ts'
import type { Session } from './session.ts'
import type { RolloutOptions, Step } from './steps.ts'

/**
 * Time for what the old machines are still answering, and for every edge to hear that nothing new
 * goes to them.
 */
const DRAIN_MS = 2_000
const RESTING = new Set(['stopped', 'suspended', 'created'])
type Headers = Readonly<Record<string, string>>

/**
 * Makes a new machine beside each old one, out of the rotation, and waits until all are healthy. Then
 * the new ones come into the rotation, the old ones go out of it, finish what they have, and are
 * destroyed. Whatever fails before the switch leaves the old ones as they were and destroys the new
 * ones; after it the new ones serve, and the old ones are taken away in any case.
 */
export async function bluegreen(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  const blue = steps.flatMap((step) => (step.kind === 'create' ? [] : [step.machine]))
  const ids = blue.map(({ id }) => id)
  // Nobody else may change the old ones meanwhile.
  await underLeases(session, ids, async (leases) => {
    try {
      const green = await makeGreen(session, steps, options)
      await inParallel(green, async ({ id }) => {
        await session.client.post(machinePath(session, id, 'uncordon'))
      })
      session.note(`The new machines are in the rotation (${green.length})`)
    } catch (error) {
      await dropGreen(session, release, new Set(ids))
      throw error
    }
    await retireBlue(session, blue, leases)
  })
}

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
      config: step.config,
      region: step.kind === 'create' ? step.region : step.machine.region,
      skipServiceRegistration: true,
      ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
    })
    const follows = step.kind === 'update' ? ` beside ${step.machine.id}` : ''
    session.note(`Created machine ${machine.id} in ${machine.region}${follows}`)
    green.push(machine)
  })
  await inParallel(green, (machine) => becomesHealthy(session, machine, options))
  const resting = steps.filter((s) => s.kind === 'update' && RESTING.has(s.machine.state))
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

/**
 * Destroys what the release made. The machines themselves say so: the answer to a creation may have
 * been lost on the way.
 */
async function dropGreen(
  session: Session,
  release: ApiRelease,
  blue: ReadonlySet<string>,
): Promise<void> {
  try {
    const now = await listMachines(session, { cleanUp: true })
    const mine = now.filter(
      ({ id, config }) => !blue.has(id) && config.metadata?.[METADATA.releaseId] === release.id,
    )
    if (mine.length === 0) return
    const kept = blue.size > 0 ? '; the old ones serve on' : ''
    session.note(`Destroying the new machines (${mine.length})${kept}`)
    // Some may be in the rotation already.
    await inParallel(mine, (machine) => cordon(session, machine, {}))
    await inParallel(mine, async ({ id }) => void (await retire(session, id)))
  } catch (error) {
    session.note(`Warning: new machines may still be there: ${messageOf(error)}`)
  }
}

/** There is no way back from here: an interrupt does not stop it, an error is said and passed over. */
async function retireBlue(
  session: Session,
  blue: readonly ApiMachine[],
  leases: ReadonlyMap<string, Headers>,
): Promise<void> {
  if (blue.length === 0) return
  const headersOf = (id: string) => leases.get(id) ?? {}
  await inParallel(blue, (machine) => cordon(session, machine, headersOf(machine.id)))
  await session.io.clock.sleep(DRAIN_MS)
  await inParallel(blue, async (machine) => {
    if (await retire(session, machine.id, headersOf(machine.id)))
      session.note(`Destroyed ${describe(machine)}`)
  })
}

async function cordon(session: Session, machine: ApiMachine, headers: Headers): Promise<void> {
  const path = machinePath(session, machine.id, 'cordon')
  await session.client.post(path, undefined, { headers, cleanUp: true }).catch((error) => {
    session.note(`Warning: ${describe(machine)} may still be sent requests: ${messageOf(error)}`)
  })
}
