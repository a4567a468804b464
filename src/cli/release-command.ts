import type { MachineConfig } from '../model/machine-config.ts'
import { ApiError } from './errors.ts'
import { LastLines, runJob } from './job.ts'
import { plainMessage } from './log-text.ts'
import type { Session } from './session.ts'

const LAST_LINES = 10

export interface ReleaseCommandOptions {
  readonly region: string
  /** null: it may take as long as it wants. */
  readonly timeoutMs: number | null
  readonly minSecretsVersion?: number
}

/**
 * Runs `[deploy] release_command` in a machine of its own, made anew for each deploy, and shows its
 * log. Throws when it does not end with 0, with its code and its last lines; `deadline` at the
 * time-out. The machine is gone in every case.
 */
export async function runReleaseCommand(
  session: Session,
  config: MachineConfig,
  { region, timeoutMs, minSecretsVersion }: ReleaseCommandOptions,
): Promise<void> {
  session.note(`Running the release command: ${(config.init?.cmd ?? []).join(' ')}`)
  const last = new LastLines(LAST_LINES)
  const launch = { config, region, ...(minSecretsVersion && { minSecretsVersion }) }
  const { exitCode, oomKilled } = await runJob(session, launch, {
    timeoutMs,
    onLine: (line) => {
      if (line.source === 'app') last.add(line)
      session.note(`  ${line.source === 'app' ? '' : '· '}${plainMessage(line)}`)
    },
  })
  if (exitCode === 0 && !oomKilled) return session.note('The release command succeeded')
  const oom = oomKilled ? ' (out of memory: give it more with release_command_vm)' : ''
  throw new ApiError(
    `The release command failed with exit code ${exitCode}${oom}; nothing else was changed. ` +
      `Its last lines:${last.text || ' none'}`,
    { status: 422, code: 'release_command_failed' },
  )
}
