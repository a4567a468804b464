import type { Host, Machine } from '../model/resources.ts'

/** Where commands are looked for; the pinned Node comes last, so that the machine's own wins. */
export const MACHINE_PATH =
  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.fairway/bin'

/**
 * The environment of a machine's process (N14-N18): defaults, the config's `env`, secrets over it,
 * and over all what the platform alone may say.
 */
export function machineEnvironment(
  machine: Machine,
  host: Host,
  secrets: Readonly<Record<string, string>>,
): Record<string, string> {
  const { config } = machine
  const metadata = config.metadata ?? {}
  const primaryRegion = config.env?.PRIMARY_REGION ?? metadata.fly_primary_region
  return {
    PATH: MACHINE_PATH,
    HOME: '/tmp',
    ...config.env,
    ...secrets,
    FLY_APP_NAME: machine.app,
    FLY_MACHINE_ID: machine.id,
    FLY_ALLOC_ID: machine.id,
    FLY_REGION: machine.region,
    FLY_PROCESS_GROUP: metadata.fly_process_group ?? config.env?.FLY_PROCESS_GROUP ?? 'app',
    FLY_IMAGE_REF: config.image,
    FLY_MACHINE_VERSION: machine.instanceId,
    FLY_VM_MEMORY_MB: String(config.guest.memory_mb),
    FLY_PRIVATE_IP: machine.v6,
    // Machines leave through their host's address until they have one of their own.
    FLY_PUBLIC_IP: host.underlayV6,
    ...(primaryRegion === undefined ? {} : { PRIMARY_REGION: primaryRegion }),
  }
}
