import type { MachineConfig } from '../model/machine-config.ts'
import { type ApiMachine, type ApiRelease, METADATA } from './api-types.ts'
import { cancelled } from './errors.ts'
import {
  assertAlive,
  createMachine,
  getMachine,
  machinePath,
  underLease,
  updateMachine,
  waitForChecks,
  waitForState,
} from './machines.ts'
import { setReleaseStatus } from './releases.ts'
import type { Session } from './session.ts'

/** One step of bringing an app's machines to a new release. */
export type Step =
  | {
      readonly kind: 'create'
      readonly group: string
      readonly region: string
      readonly config: MachineConfig
    }
  | { readonly kind: 'update'; readonly machine: ApiMachine; readonly config: MachineConfig }
  | { readonly kind: 'destroy'; readonly machine: ApiMachine }

export interface RolloutOptions {
  /** Rolling: one after the other, each healthy before the next. Immediate: all at once, no waiting. */
  readonly strategy: 'rolling' | 'immediate'
  /** Return when the machines were asked for, without waiting for them. */
  readonly detach: boolean
  readonly waitTimeoutMs: number
  readonly smokeChecks: boolean
  readonly minSecretsVersion?: number
}

/** How long a machine without checks must stay up to count as started. */
const SMOKE_MS = 1_500
/** How many machines an immediate deploy changes at once. */
const PARALLEL_MAX = 16
const AT_REST = new Set(['stopped', 'suspended', 'created'])

/** Takes all steps and says so; the release ends as complete, failed or interrupted. */
export async function rollout(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  const waits = options.strategy === 'rolling' && !options.detach
  try {
    if (waits) for (const step of steps) await takeStep(session, step, options)
    else await inParallel(steps, (step) => takeStep(session, step, options))
  } catch (error) {
    const status = session.io.signal.aborted ? 'interrupted' : 'failed'
    // The first error says more than one about the release's status.
    await setReleaseStatus(session, release.id, status).catch(() => {})
    throw session.io.signal.aborted ? cancelled() : error
  }
  await setReleaseStatus(session, release.id, 'complete')
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += PARALLEL_MAX) {
    await Promise.all(items.slice(i, i + PARALLEL_MAX).map(work))
  }
}

async function takeStep(session: Session, step: Step, options: RolloutOptions): Promise<void> {
  if (step.kind === 'destroy') {
    await session.client.request('DELETE', machinePath(session, step.machine.id), {
      query: { kill: true },
    })
    session.note(`Destroyed machine ${step.machine.id} (${step.machine.region})`)
    return
  }
  const waits = options.strategy === 'rolling' && !options.detach
  if (step.kind === 'create') {
    const machine = await createMachine(session, {
      config: step.config,
      region: step.region,
      ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
    })
    session.note(`Created machine ${machine.id} of group ${step.group} in ${machine.region}`)
    if (waits) await becomesHealthy(session, machine, options)
    return
  }
  await update(session, step, options, waits)
}

async function update(
  session: Session,
  { machine, config }: Extract<Step, { kind: 'update' }>,
  options: RolloutOptions,
  waits: boolean,
): Promise<void> {
  const rests = AT_REST.has(machine.state)
  await underLease(session, machine.id, async (headers) => {
    const launch = {
      config,
      skipLaunch: rests,
      ...(options.minSecretsVersion && { minSecretsVersion: options.minSecretsVersion }),
    }
    const updated = await updateMachine(session, machine.id, launch, headers)
    const where = `machine ${machine.id} (${machine.region})`
    session.note(rests ? `Updated ${where}; it stays ${machine.state}` : `Updated ${where}`)
    if (!waits || rests) return
    if (machine.host_status !== undefined && machine.host_status !== 'ok') {
      session.note(`Warning: the host of ${where} does not report; it updates when it is back.`)
      return
    }
    await becomesHealthy(session, updated, options)
  })
}

/** Waits until a machine runs, stays up and passes its checks. */
async function becomesHealthy(
  session: Session,
  machine: ApiMachine,
  { waitTimeoutMs, smokeChecks }: RolloutOptions,
): Promise<void> {
  const { id } = machine
  const started = waitForState(session, id, 'started', {
    timeoutMs: waitTimeoutMs,
    instanceId: machine.instance_id,
  })
  await session.during(`Waiting for machine ${id} to start`, started)
  const hasChecks =
    Object.keys(machine.config.checks ?? {}).length > 0 ||
    machine.config.services?.some((service) => service.checks?.length)
  if (hasChecks) {
    const checks = waitForChecks(session, id, waitTimeoutMs)
    await session.during(`Waiting for the checks of machine ${id}`, checks)
  } else if (smokeChecks) {
    await session.io.clock.sleep(SMOKE_MS, session.io.signal)
    assertAlive(await getMachine(session, id))
  }
  session.note(`Machine ${id} is up${hasChecks ? ' and passes its checks' : ''}`)
}

/** A machine's config as it is, but of another release. */
export const ofRelease = (config: MachineConfig, release: ApiRelease): MachineConfig => ({
  ...config,
  metadata: {
    ...config.metadata,
    [METADATA.releaseId]: release.id,
    [METADATA.releaseVersion]: String(release.version),
  },
})
