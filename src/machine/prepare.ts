import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host, Machine } from '../model/resources.ts'
import type { LaunchSpec } from '../model/wire.ts'
import type { ArtifactFolders } from './artifacts.ts'
import { BUNDLE_VERSION, ociConfig, writeBundle } from './bundle.ts'
import { machineEnvironment, publicIpOf } from './environment.ts'
import { etcFiles } from './etc.ts'
import type { AttachedMachine, MachineNetwork } from './network.ts'
import type { BundleStamp, MachineRecord } from './record.ts'
import { slotName, slotOf } from './slot.ts'
import type { SystemFiles } from './system.ts'
import { type IdRange, machineUid } from './user.ts'

export interface PrepareOptions {
  readonly host: Host
  /** Prefix of machines' default IPv6 sources; null: the host's own address. */
  readonly machinesV6: string | null
  readonly network: MachineNetwork
  readonly artifacts: ArtifactFolders
  readonly launch: (machine: Machine) => Promise<LaunchSpec>
  readonly resolvers: readonly string[]
  readonly nodePath: string
  readonly uidMap: readonly IdRange[]
  readonly userNamespace: boolean
  /** The cgroup below which machines get theirs; null where none can be written. */
  readonly cgroupRoot: string | null
  readonly system: SystemFiles
  folder(id: string): string
}

export interface Prepared {
  readonly record: MachineRecord
  /** Resolves when the machine's network is in force: its program may not start before. */
  readonly inForce: Promise<void>
}

/**
 * Makes everything that a machine's sandbox stands on: its network, its artifact unpacked, its
 * bundle written. A bundle from the same instance, secrets and artifact is used again, so that a
 * machine that crashed starts without the control plane.
 */
export async function prepareMachine(
  options: PrepareOptions,
  machine: Machine,
  record: MachineRecord,
): Promise<Prepared> {
  const { network } = options
  const attached = attachedMachine(machine)
  const namespace = network.namespace?.(attached) ?? network.attach(attached, { fresh: true })
  const inForce = namespace.then(async () => {
    if (network.namespace) await network.attach(attached, { fresh: true })
  })
  // Both to their end, so that a failure leaves no work going on behind the next attempt.
  const [named, specified] = await Promise.allSettled([
    namespace,
    specify(options, machine, record),
  ])
  if (named.status === 'rejected' || specified.status === 'rejected') {
    await inForce.catch(() => {})
    throw specified.status === 'rejected'
      ? specified.reason
      : (named as PromiseRejectedResult).reason
  }
  inForce.catch(() => {}) // Whoever makes the sandbox awaits it, some time later.
  const { spec, app } = specified.value
  if (!spec) return { record, inForce }
  const { netnsPath } = named.value
  const stamp = await bundle(options, { machine, spec, app, netnsPath })
  return { record: { ...record, bundle: stamp }, inForce }
}

/** `spec` is undefined when the bundle on disk will do. */
async function specify(
  options: PrepareOptions,
  machine: Machine,
  record: MachineRecord,
): Promise<{ app: string; spec: LaunchSpec | undefined }> {
  await mkdir(join(options.folder(machine.id), 'log'), { recursive: true, mode: 0o700 })
  const usable = usableBundle(options, machine, record)
  if (usable) return { app: await options.artifacts.folder(usable.artifact), spec: undefined }
  const spec = await options.launch(machine)
  return { app: await options.artifacts.folder(spec.artifact), spec }
}

/** What the network has to know of a machine. */
export const attachedMachine = (machine: Machine): AttachedMachine => ({
  ...{ id: machine.id, v4: machine.v4, v6: machine.v6, networkId: machine.networkId },
  ...{ egress: machine.egress, testTarget: machine.testTarget },
  hostSlotName: slotName(machine.v4),
})

/** The stamp of the bundle on disk, if it was made from what this machine is now. */
function usableBundle(
  { host, machinesV6 }: PrepareOptions,
  machine: Machine,
  { bundle }: MachineRecord,
): BundleStamp | undefined {
  if (!bundle || bundle.version !== BUNDLE_VERSION) return undefined
  if (bundle.instanceId !== machine.instanceId) return undefined
  if (bundle.publicIp !== publicIpOf(machine, host, machinesV6)) return undefined
  return bundle.secretsVersion === machine.secretsVersion ? bundle : undefined
}

async function bundle(
  options: PrepareOptions,
  made: { machine: Machine; spec: LaunchSpec; app: string; netnsPath: string },
): Promise<BundleStamp> {
  const { machine, spec, app, netnsPath } = made
  const { host, uidMap, cgroupRoot } = options
  const publicIp = publicIpOf(machine, host, options.machinesV6)
  const folder = options.folder(machine.id)
  const uid = machineUid(uidMap, host.index, slotOf(machine.v4))
  const config = ociConfig({
    ...{ machine, folder, app, netnsPath, uid },
    environment: machineEnvironment(machine, publicIp, spec.secrets),
    nodePath: options.nodePath,
    cgroup: cgroupRoot === null ? null : join(cgroupRoot, machine.id),
    userNamespace: options.userNamespace,
    system: options.system,
  })
  await writeBundle(folder, config, etcFiles(machine, uid, options.resolvers), options.system)
  return {
    version: BUNDLE_VERSION,
    instanceId: machine.instanceId,
    secretsVersion: machine.secretsVersion,
    artifact: spec.artifact,
    publicIp,
    system: options.system.name,
  }
}
