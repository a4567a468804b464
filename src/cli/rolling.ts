import { messageOf } from '../base/errors.ts'
import { type ApiMachine, type ApiRelease, groupOf, METADATA } from './api-types.ts'
import { isNotFound } from './errors.ts'
import { becomesHealthy, describe } from './healthy.ts'
import { type Lease, underLease, underLeases } from './leases.ts'
import { proves } from './machine-checks.ts'
import { createMachine, listMachines, updateMachine } from './machines.ts'
import { inParallel } from './parallel.ts'
import { retire } from './retire.ts'
import type { Session } from './session.ts'
import {
  type CreateStep,
  type DestroyStep,
  MAX_UNAVAILABLE,
  RESTING,
  type RolloutOptions,
  rests,
  type Step,
  type UpdateStep,
} from './steps.ts'

/** Deploys that change machines where they are: rolling and immediate. */

/** After an interrupt somebody waits for the command to end: a machine that goes back has so long. */
const INTERRUPTED_WAIT_MS = 30_000

/**
 * Changes machines group by group, at most `maxUnavailable` of a group at a time, each healthy before
 * the next; machines of groups that are gone are destroyed last. When one fails, or the person
 * interrupts, those already changed get their former configuration back, as few at a time. Without
 * waiting (`immediate`, `detach`) nothing is known that could be undone.
 */
export async function rolling(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  const changes = steps.filter((step) => step.kind !== 'destroy')
  const gone = steps.filter((step) => step.kind === 'destroy')
  const progress: Progress = { former: new Map(), healthy: new Set() }
  const take = async (step: Change) => {
    await change(session, step, options, progress)
    progress.healthy.add(step)
  }
  if (!waits(options)) {
    await inParallel(changes, take)
  } else {
    const plan = batches(changes, options.maxUnavailable ?? MAX_UNAVAILABLE)
    try {
      for (const batch of plan) await inParallel(batch, take)
    } catch (error) {
      await putBack(session, release, plan, progress, options)
      throw error
    }
  }
  await inParallel(gone, (step) => destroy(session, step))
}

const waits = ({ strategy, detach }: RolloutOptions): boolean => strategy !== 'immediate' && !detach

type Change = CreateStep | UpdateStep

/** How far a deploy has come. */
interface Progress {
  /** Machines as they were before their steps. */
  readonly former: Map<Change, ApiMachine>
  /** Steps whose machines are as they should be. */
  readonly healthy: Set<Change>
}

/** Steps that may be taken at one time: new machines all, others as the limit allows. */
export function batches(steps: readonly Change[], maxUnavailable: number): Change[][] {
  const groups = Map.groupBy(steps, (step) =>
    step.kind === 'create' ? step.group : groupOf(step.machine),
  )
  return [...groups.values()].flatMap((all) => {
    const creates = all.filter((step) => step.kind === 'create')
    const updates = all.filter((step) => step.kind === 'update')
    const size = batchSize(updates.length, maxUnavailable)
    const cut = (at: number) => updates.slice(at * size, (at + 1) * size)
    const count = Math.ceil(updates.length / size)
    return [creates, ...Array.from({ length: count }, (_, at) => cut(at))].filter((b) => b.length)
  })
}

const batchSize = (total: number, max: number): number =>
  Math.max(1, max < 1 ? Math.ceil(total * max) : Math.floor(max))

async function change(
  session: Session,
  step: Change,
  options: RolloutOptions,
  { former }: Progress,
): Promise<void> {
  if (step.kind === 'update') {
    const { id } = step.machine
    return underLeases(session, [id], async (held) => {
      const found = held.get(id)
      if (!found) return
      former.set(step, found.machine)
      await update(session, { ...step, machine: found.machine }, found.lease, options)
    })
  }
  const machine = await createMachine(session, {
    config: step.config,
    region: step.region,
    ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
  })
  session.note(`Created machine ${machine.id} of group ${step.group} in ${machine.region}`)
  if (waits(options)) await proves(session, machine, options)
}

async function update(
  session: Session,
  step: UpdateStep,
  { headers }: Lease,
  options: RolloutOptions,
): Promise<void> {
  const { machine, config } = step
  const isAtRest = rests(step)
  const launch = {
    config,
    skipLaunch: isAtRest,
    ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
  }
  const updated = await updateMachine(session, machine.id, launch, headers)
  const where = `machine ${machine.id} (${machine.region})`
  session.note(isAtRest ? `Updated ${where}; it stays ${machine.state}` : `Updated ${where}`)
  if (!waits(options) || isAtRest) return
  if (machine.host_status !== undefined && machine.host_status !== 'ok') {
    session.note(`Warning: the host of ${where} does not report; it updates when it is back.`)
    return
  }
  await proves(session, updated, options)
}

async function destroy(session: Session, { machine }: DestroyStep): Promise<void> {
  const path = session.appPath('machines', machine.id)
  try {
    await session.client.request('DELETE', path, { query: { kill: true } })
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
  session.note(`Destroyed machine ${machine.id} (${machine.region})`)
}

/**
 * Brings an app back to what it was before a deploy that failed. The machines themselves say which
 * of them the release has changed: an answer may have been lost on the way.
 */
async function putBack(
  session: Session,
  release: ApiRelease,
  plan: readonly (readonly Change[])[],
  { former, healthy }: Progress,
  options: RolloutOptions,
): Promise<void> {
  const updates = plan.flat().filter((step) => step.kind === 'update')
  const before = new Set(updates.map(({ machine }) => machine.id))
  try {
    const now = await listMachines(session, { cleanUp: true })
    const touched = now.filter((m) => m.config.metadata?.[METADATA.releaseId] === release.id)
    const made = touched.filter(({ id }) => !before.has(id))
    if (before.size === 0) {
      const ids = made.map(({ id }) => id).join(', ')
      if (ids) session.note(`There is no former release to go back to; left for a look: ${ids}`)
      return
    }
    const isChanged = (step: Change) => touched.some(({ id }) => id === former.get(step)?.id)
    const changed = plan.map((batch) => batch.filter(isChanged))
    const count = changed.flat().length
    if (count > 0) session.note(`Going back to the former release (${count})`)
    // Those that failed serve nobody, and are of one batch.
    const failed = changed.flat().filter((step) => !healthy.has(step))
    const others = changed.map((batch) => batch.filter((step) => healthy.has(step)))
    for (const batch of [failed, ...others])
      await inParallel(batch, (step) => restore(session, former.get(step)!, options))
    await inParallel(made, async ({ id }) => {
      if (await retire(session, id)) session.note(`Destroyed machine ${id}`)
    })
  } catch (error) {
    session.note(`Warning: not everything went back: ${messageOf(error)}`)
  }
}

async function restore(session: Session, before: ApiMachine, options: RolloutOptions) {
  const cleanUp = true
  const launch = { config: before.config, skipLaunch: RESTING.has(before.state) }
  try {
    const restored = await underLease(
      session,
      before.id,
      ({ headers }) => updateMachine(session, before.id, launch, headers, { cleanUp }),
      { cleanUp },
    )
    session.note(`Put back ${describe(before)}`)
    if (launch.skipLaunch || before.host_status === 'unreachable') return
    await comesBack(session, restored, options)
  } catch (error) {
    session.note(`Warning: ${describe(before)} is not as it was: ${messageOf(error)}`)
  }
}

/** Waits until a machine that was put back is healthy; after an interrupt for a shorter time. */
async function comesBack(session: Session, machine: ApiMachine, options: RolloutOptions) {
  const { signal } = session.io
  try {
    if (!signal.aborted) return await becomesHealthy(session, machine, options)
  } catch (error) {
    if (!signal.aborted) throw error
  }
  const waitTimeoutMs = Math.min(options.waitTimeoutMs, INTERRUPTED_WAIT_MS)
  await becomesHealthy(session.uninterrupted(), machine, { ...options, waitTimeoutMs })
}
