import type { MachineConfig } from '../model/machine-config.ts'
import { type ApiRelease, METADATA } from './api-types.ts'
import { bluegreen } from './bluegreen.ts'
import { canary } from './canary.ts'
import { cancelled } from './errors.ts'
import { setReleaseStatus } from './releases.ts'
import { rolling } from './rolling.ts'
import type { Session } from './session.ts'
import type { RolloutOptions, Step } from './steps.ts'

/** Does a release's work; the release ends as complete, failed or interrupted. */
export async function concluding(
  session: Session,
  release: ApiRelease,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work()
  } catch (error) {
    const status = session.io.signal.aborted ? 'interrupted' : 'failed'
    // The first error says more than one about the release's status.
    await setReleaseStatus(session, release.id, status).catch(() => {})
    throw session.io.signal.aborted ? cancelled() : error
  }
  await setReleaseStatus(session, release.id, 'complete')
}

/** Takes all steps in the way of the strategy; what fails is undone as far as that says. */
export async function rollout(
  session: Session,
  release: ApiRelease,
  steps: readonly Step[],
  options: RolloutOptions,
): Promise<void> {
  if (options.strategy === 'bluegreen') await bluegreen(session, release, steps, options)
  else if (options.strategy === 'canary') await canary(session, release, steps, options)
  else await rolling(session, release, steps, options)
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
