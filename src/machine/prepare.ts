import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Host, Machine } from '../model/resources.ts'
import type { LaunchSpec } from '../model/wire.ts'
import type { ArtifactFolders } from './artifacts.ts'
import { BUNDLE_VERSION, ociConfig, type SharedPath, writeBundle } from './bundle.ts'
import { machineEnvironment } from './environment.ts'
import { etcFiles } from './etc.ts'
import type { AttachedMachine, MachineNetwork } from './network.ts'
import type { BundleStamp, MachineRecord } from './record.ts'
import { slotName, slotOf } from './slot.ts'
import { type IdRange, machineUid } from './user.ts'

export interface PrepareOptions {
  readonly host: Host
  readonly network: MachineNetwork
  readonly artifacts: ArtifactFolders
  readonly launch: (machine: Machine) => Promise<LaunchSpec>
  readonly resolvers: readonly string[]
  readonly nodePath: string
  readonly uidMap: readonly IdRange[]
  readonly userNamespace: boolean
  /** The cgroup below which machines get theirs; null where none can be written. */
  readonly cgroupRoot: string | null
  readonly shared: readonly SharedPath[]
  folder(id: string): string
}

/** Milliseconds that the parts of a preparation took; they overlap. */
export interface PrepareTimes {
  readonly launchMs: number
  readonly networkMs: number
  readonly totalMs: number
}

/**
 * Makes everything that a machine's sandbox stands on: its network in force, its artifact unpacked,
 * its bundle written. A bundle from the same instance, secrets and artifact is used again, so that
 * a machine that crashed starts without the control plane.
 */
export async function prepareMachine(
  options: PrepareOptions,
  machine: Machine,
  record: MachineRecord,
): Promise<{ record: MachineRecord; times: PrepareTimes }> {
  const beganMs = performance.now()
  const folder = options.folder(machine.id)
  let launchMs = 0
  let networkMs = 0
  const attach = async () => {
    const attached = await options.network.attach(attachedMachine(machine))
    networkMs = performance.now() - beganMs
    return attached
  }
  const specify = async () => {
    await mkdir(join(folder, 'log'), { recursive: true, mode: 0o700 })
    const reusable = usableBundle(machine, record)
    const spec = reusable ?? (await options.launch(machine))
    const app = await options.artifacts.folder(spec.artifact)
    launchMs = performance.now() - beganMs
    return { app, spec: reusable ? undefined : (spec as LaunchSpec) }
  }
  // Both to their end, so that a failure leaves no work going on behind the next attempt.
  const [attached, specified] = await Promise.allSettled([attach(), specify()])
  if (specified.status === 'rejected') throw specified.reason
  if (attached.status === 'rejected') throw attached.reason
  const { spec, app } = specified.value
  const stamp = spec
    ? await bundle(options, { machine, spec, app, netnsPath: attached.value.netnsPath })
    : record.bundle
  const totalMs = performance.now() - beganMs
  return { record: { ...record, bundle: stamp }, times: { launchMs, networkMs, totalMs } }
}

/** What the network has to know of a machine. */
export const attachedMachine = ({ id, v4, v6, networkId }: Machine): AttachedMachine => ({
  ...{ id, v4, v6, networkId },
  hostSlotName: slotName(v4),
})

/** The stamp of the bundle on disk, if it was made from what this machine is now. */
function usableBundle(machine: Machine, { bundle }: MachineRecord): BundleStamp | undefined {
  if (!bundle || bundle.version !== BUNDLE_VERSION) return undefined
  if (bundle.instanceId !== machine.instanceId) return undefined
  return bundle.secretsVersion === machine.secretsVersion ? bundle : undefined
}

async function bundle(
  options: PrepareOptions,
  made: { machine: Machine; spec: LaunchSpec; app: string; netnsPath: string },
): Promise<BundleStamp> {
  const { machine, spec, app, netnsPath } = made
  const { host, uidMap, cgroupRoot } = options
  const folder = options.folder(machine.id)
  const uid = machineUid(uidMap, host.index, slotOf(machine.v4))
  const config = ociConfig({
    ...{ machine, folder, app, netnsPath, uid },
    environment: machineEnvironment(machine, host, spec.secrets),
    nodePath: options.nodePath,
    cgroup: cgroupRoot === null ? null : join(cgroupRoot, machine.id),
    userNamespace: options.userNamespace,
    shared: options.shared,
  })
  await writeBundle(folder, config, etcFiles(machine, uid, options.resolvers))
  return {
    version: BUNDLE_VERSION,
    instanceId: machine.instanceId,
    secretsVersion: machine.secretsVersion,
    artifact: spec.artifact,
  }
}
