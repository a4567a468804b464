import { invalid } from '../../base/errors.ts'
import { MachineConfig } from '../machine-config.ts'
import { wordsOf } from './command.ts'
import { groupsOf } from './groups.ts'
import { type GuestSize, guestOf, guestOfVm } from './guest.ts'
import type { ConversionInput } from './machine-config.ts'
import type { AppConfig } from './schema.ts'

/** The process group of machines that run `[deploy] release_command`: of no group of the app. */
export const RELEASE_GROUP = 'fly_app_release_command'

/**
 * The machine of `[deploy] release_command` (N17): the new image and environment, no services and no
 * checks; it runs once and is gone when it ends. Undefined when there is no command.
 */
export function releaseMachineConfig(
  config: AppConfig,
  input: ConversionInput,
): MachineConfig | undefined {
  const line = config.deploy?.release_command
  if (line === undefined) return undefined
  const { entrypoint, exec } = config.experimental ?? {}
  if (exec) {
    throw invalid(
      'deploy.release_command: [experimental] exec takes the place of every command, so this one ' +
        'would never run. Remove exec, or give it as entrypoint and cmd.',
    )
  }
  return MachineConfig.parse({
    image: input.image,
    env: {
      ...config.env,
      RELEASE_COMMAND: '1',
      FLY_PROCESS_GROUP: RELEASE_GROUP,
      ...(config.primary_region && { PRIMARY_REGION: config.primary_region }),
    },
    init: { cmd: wordsOf(line, 'deploy.release_command'), ...(entrypoint && { entrypoint }) },
    guest: releaseGuest(config),
    metadata: {
      fly_flyctl_version: input.clientVersion,
      fly_platform_version: 'v2',
      fly_process_group: RELEASE_GROUP,
      ...(input.release && {
        fly_release_id: input.release.id,
        fly_release_version: String(input.release.version),
      }),
    },
    restart: { policy: 'no' },
    auto_destroy: true,
  })
}

/** `release_command_vm`, else the size of the largest group: migrations need what the app needs. */
function releaseGuest(config: AppConfig): GuestSize {
  const vm = config.deploy?.release_command_vm
  if (vm) return guestOfVm(vm)
  const sizes = groupsOf(config).map((group) => guestOf(config, group))
  return sizes.sort((a, b) => b.memory_mb - a.memory_mb || b.cpus - a.cpus)[0]!
}
