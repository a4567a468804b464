import type { Machine, MachineLease, MachineState, MachineStatus } from '../../model/resources.ts'
import { portsOf } from '../egress/blocks.ts'
import type { Fleet } from '../fleet.ts'
import { parseImage } from './image.ts'
import { shownState } from './state.ts'

/** A machine in the Machines API's shape (flyctl-api 4.2). */
export interface MachineObject {
  readonly id: string
  readonly name: string
  readonly state: MachineState
  readonly region: string
  readonly instance_id: string
  readonly version: string
  readonly private_ip: string
  readonly created_at: string
  readonly updated_at: string
  readonly config: Machine['config']
  readonly image_ref: {
    readonly registry: string
    readonly repository: string
    readonly tag: string
    readonly digest: string
    readonly labels: Readonly<Record<string, string>>
  }
  readonly events: MachineStatus['events']
  readonly checks: MachineStatus['checks']
  /** Clients take anything but `ok` as a machine that cannot be reached. */
  readonly host_status: 'ok' | 'unreachable'
  readonly cordoned: boolean
  readonly host: { readonly id: string }
  /** Its static egress, and what is wrong with its egress; null: the default one of its host. */
  readonly egress: MachineEgressObject | null
  readonly nonce?: string
}

export interface MachineEgressObject {
  /** The pair's. */
  readonly id: string | null
  readonly v4: string | null
  readonly v6: string | null
  readonly slot: number | null
  readonly count: number | null
  /** Source ports, both ends included. */
  readonly ports: { readonly from: number; readonly to: number } | null
  /** Why nothing of it leaves the host; null when all is well. */
  readonly problem: string | null
}

const egressObject = (
  { egress }: Machine,
  { egressProblem }: MachineStatus,
): MachineEgressObject | null =>
  egress || egressProblem
    ? {
        id: egress?.pair ?? null,
        v4: egress?.v4 ?? null,
        v6: egress?.v6 ?? null,
        slot: egress?.slot ?? null,
        count: egress?.count ?? null,
        ports: egress ? portsOf(egress) : null,
        problem: egressProblem ?? null,
      }
    : null

/** `lease` only where the caller has just taken it: its nonce is what lets one change the machine. */
export function machineObject(
  fleet: Pick<Fleet, 'isLive'>,
  record: { readonly machine: Machine; readonly status: MachineStatus },
  lease?: MachineLease,
): MachineObject {
  const { machine, status } = record
  const image = parseImage(machine.config.image, machine.app)
  const { registry, repository, tag } = image
  return {
    id: machine.id,
    name: machine.name,
    state: shownState(machine, status),
    region: machine.region,
    instance_id: machine.instanceId,
    version: machine.instanceId,
    private_ip: machine.v6,
    created_at: machine.createdAt,
    updated_at: [machine.updatedAt, status.updatedAt].sort()[1]!,
    config: machine.config,
    image_ref: { registry, repository, tag, digest: `sha256:${image.digestHex}`, labels: {} },
    events: status.events,
    checks: status.checks,
    host_status: fleet.isLive(machine.host) ? 'ok' : 'unreachable',
    cordoned: machine.cordoned,
    host: { id: machine.host },
    egress: egressObject(machine, status),
    ...(lease ? { nonce: lease.nonce } : {}),
  }
}
