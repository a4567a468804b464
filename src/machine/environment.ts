import type { Host, Machine } from '../model/resources.ts'
import { defaultV6 } from './slot.ts'

/** Where commands are looked for; the pinned Node comes last, so that the machine's own wins. */
export const MACHINE_PATH =
  '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/.fairway/bin'

/**
 * The environment of a machine's process (N14-N18): defaults, the config's `env`, secrets over it,
 * and over all what the platform alone may say.
 */
export function machineEnvironment(
  machine: Machine,
  publicIp: string,
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
    FLY_PUBLIC_IP: publicIp,
    ...(primaryRegion === undefined ? {} : { PRIMARY_REGION: primaryRegion }),
  }
}

/**
 * What the world sees a machine as when it starts: its static source, IPv6 if it has one; else its own
 * address of the host's machines' prefix, or the host's where there is none.
 */
export function publicIpOf(
  { egress, v4 }: Pick<Machine, 'egress' | 'v4'>,
  host: Pick<Host, 'underlayV6'>,
  machinesV6: string | null,
): string {
  return egress?.v6 ?? egress?.v4 ?? defaultV6(v4, machinesV6) ?? host.underlayV6
}
