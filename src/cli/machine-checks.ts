import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import { groupsOf } from '../model/fly-toml/groups.ts'
import type { ConversionInput } from '../model/fly-toml/machine-config.ts'
import type { AppConfig } from '../model/fly-toml/schema.ts'
import { machineChecksOf, testMachineConfig } from '../model/fly-toml/test-machine.ts'
import type { MachineConfig } from '../model/machine-config.ts'
import { type ApiMachine, groupOf } from './api-types.ts'
import { ApiError, deadline } from './errors.ts'
import { resolveImage } from './folder.ts'
import { becomesHealthy, describe } from './healthy.ts'
import { LastLines, runJob } from './job.ts'
import { inParallel } from './parallel.ts'
import type { Session } from './session.ts'
import type { RolloutOptions } from './steps.ts'

export type Checks = (machine: ApiMachine, release: ConversionInput) => MachineConfig[]

/**
 * The machine checks of a fly.toml, ready to be made for any machine. Sends the folders that they run
 * in beside the app's own; throws when an image of theirs cannot be had.
 */
export async function preparedChecks(
  session: Session,
  folder: string,
  config: AppConfig,
  detach: boolean,
): Promise<Checks> {
  const all = groupsOf(config).flatMap((group) => machineChecksOf(config, group))
  if (detach && all.length > 0)
    session.note('Warning: --detach waits for nothing, so that no machine check runs.')
  const images = new Map<string, string>()
  for (const { image } of all) {
    if (image === undefined || images.has(image)) continue
    // As in the rest of a fly.toml, a path is of its folder.
    const own = resolve(folder, image)
    images.set(image, await resolveImage(session, existsSync(own) ? own : image))
  }
  return (machine, release) =>
    machineChecksOf(config, groupOf(machine) ?? '').map((check) => {
      const image = check.image === undefined ? release.image : images.get(check.image)!
      const underTest = { address: machine.private_ip, guest: machine.config.guest }
      return testMachineConfig(config, check, underTest, { ...release, image })
    })
}

/** Of what a check printed, shown when it fails. */
const LINES_MAX = 100

/**
 * Waits until a machine is healthy, then runs the machine checks against it (S38), each in a machine
 * of its own that is gone afterwards. Throws when one does not end with 0; what it printed is shown.
 */
export async function proves(
  session: Session,
  machine: ApiMachine,
  options: RolloutOptions,
): Promise<void> {
  await becomesHealthy(session, machine, options)
  const checks = options.machineChecks?.(machine) ?? []
  if (checks.length === 0) return
  session.note(`Running the machine checks of machine ${machine.id} (${checks.length})`)
  await inParallel(checks, (check) => run(session, machine, check, options))
  session.note(`Machine ${machine.id} passes its machine checks`)
}

async function run(
  session: Session,
  machine: ApiMachine,
  config: MachineConfig,
  { waitTimeoutMs, minSecretsVersion }: RolloutOptions,
): Promise<void> {
  const { entrypoint, cmd } = config.init ?? {}
  const command = [...(entrypoint ?? []), ...(cmd ?? [])].join(' ')
  const lines = new LastLines(LINES_MAX)
  const launch = {
    ...{ config, region: machine.region },
    ...(minSecretsVersion && { minSecretsVersion }),
  }
  const what = `The machine check "${command}" of ${describe(machine)}`
  const printed = () => `What it printed:${lines.text || ' nothing'}`
  try {
    const { exitCode, oomKilled } = await runJob(session, launch, {
      timeoutMs: waitTimeoutMs,
      onLine: (line) => line.source === 'app' && lines.add(line),
    })
    if (exitCode === 0 && !oomKilled) return
    const oom = oomKilled ? ' (out of memory)' : ''
    throw new ApiError(`${what} failed with exit code ${exitCode}${oom}. ${printed()}`, {
      ...{ status: 422, code: 'machine_check_failed' },
    })
  } catch (error) {
    if (!(error instanceof FairwayError) || error.code !== 'deadline') throw error
    const late = `${what} did not end within ${waitTimeoutMs / 1000} s`
    throw deadline(`${late} (--wait-timeout). ${printed()}`)
  }
}
