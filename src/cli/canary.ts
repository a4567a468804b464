import { type ApiMachine, type ApiRelease, groupOf, METADATA } from './api-types.ts'
import { proves } from './machine-checks.ts'
import { createMachine, machinePath } from './machines.ts'
import { inParallel } from './parallel.ts'
import { dropNew, retireAll } from './retire.ts'
import { rolling } from './rolling.ts'
import type { Session } from './session.ts'
import type { RolloutOptions, Step, UpdateStep } from './steps.ts'

/**
 * One new machine of each process group first, out of the rotation until it is healthy and passes the
 * machine checks: until then nothing of the old release is touched. Then it takes its part of the
 * requests while the others change as `rolling` does, and goes when all of them have.
 */
export async function canary(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  const before = new Set(steps.flatMap((step) => (step.kind === 'create' ? [] : step.machine.id)))
  const canaries: ApiMachine[] = []
  try {
    await inParallel(canarySteps(steps), async (step) => {
      canaries.push(await hatch(session, step, options))
    })
  } catch (error) {
    await dropNew(session, release, before)
    throw error
  }
  if (canaries.length > 0) session.note(`Canaries are in the rotation (${canaries.length})`)
  try {
    await rolling(session, release, steps, options)
  } catch (error) {
    // It has put the others back; of the new release nothing stays.
    await dropNew(session, release, before)
    throw error
  }
  const said = { state: 'The machines are of the new release', what: 'canaries' }
  await retireAll(session, canaries, said)
}

/** For each group that has machines, the one that its canary is a copy of: one that runs, if any does. */
export function canarySteps(steps: readonly Step[]): UpdateStep[] {
  const updates = steps.filter((step) => step.kind === 'update')
  const groups = Map.groupBy(updates, ({ machine }) => groupOf(machine))
  return [...groups.values()].map(
    (all) => all.find(({ machine }) => machine.state === 'started') ?? all[0]!,
  )
}

async function hatch(
  session: Session,
  { machine: old, config }: UpdateStep,
  options: RolloutOptions,
): Promise<ApiMachine> {
  const machine = await createMachine(session, {
    config: { ...config, metadata: { ...config.metadata, [METADATA.canary]: 'true' } },
    region: old.region,
    skipServiceRegistration: true,
    ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
  })
  session.note(`Created canary ${machine.id} of group ${groupOf(old)} in ${machine.region}`)
  await proves(session, machine, options)
  await session.client.post(machinePath(session, machine.id, 'uncordon'))
  return machine
}
