import { type Guest, MachineConfig } from '../machine-config.ts'
import { groupsOfSection } from './groups.ts'
import type { ConversionInput } from './machine-config.ts'
import type { AppConfig, MachineCheck } from './schema.ts'

/** The process group of machines that run a machine check: of no group of the app. */
export const TEST_GROUP = 'fly_app_test_machine_command'

/** The machine checks of a group's machines: those of its services, then those of the app. */
export function machineChecksOf(config: AppConfig, group: string): readonly MachineCheck[] {
  const services = [
    ...(config.http_service ? [config.http_service] : []),
    ...(config.services ?? []),
  ]
  const mine = services.filter((one) => groupsOfSection(config, one.processes).includes(group))
  return [...mine.flatMap((one) => one.machine_checks ?? []), ...(config.machine_checks ?? [])]
}

interface UnderTest {
  /** Its 6PN address. */
  readonly address: string
  readonly guest: Guest
}

/**
 * The machine of a machine check (N17, S38): the environment of the app and the address of the machine
 * under test, no services and no checks; it runs once and is gone when it ends.
 */
export function testMachineConfig(
  config: AppConfig,
  check: MachineCheck,
  underTest: UnderTest,
  input: ConversionInput,
): MachineConfig {
  const { command, entrypoint } = check
  const signal = check.kill_signal ?? config.kill_signal
  const timeout = check.kill_timeout ?? config.kill_timeout
  return MachineConfig.parse({
    image: input.image,
    env: {
      ...config.env,
      FLY_TEST_COMMAND: '1',
      FLY_TEST_MACHINE_IP: underTest.address,
      FLY_PROCESS_GROUP: TEST_GROUP,
      ...(config.primary_region && { PRIMARY_REGION: config.primary_region }),
    },
    init: { ...(command && { cmd: command }), ...(entrypoint && { entrypoint }) },
    guest: underTest.guest,
    metadata: {
      fly_flyctl_version: input.clientVersion,
      fly_platform_version: 'v2',
      fly_process_group: TEST_GROUP,
      ...(input.release && {
        fly_release_id: input.release.id,
        fly_release_version: String(input.release.version),
      }),
    },
    restart: { policy: 'no' },
    auto_destroy: true,
    ...((signal !== undefined || timeout !== undefined) && {
      stop_config: { ...(signal && { signal }), ...(timeout && { timeout }) },
    }),
  })
}
