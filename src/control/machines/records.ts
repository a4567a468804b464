import { isoTime } from '../../base/clock.ts'
import { conflict, FairwayError, notFound } from '../../base/errors.ts'
import { ulid } from '../../base/ids.ts'
import { keys } from '../../model/keys.ts'
import {
  type App,
  type Endpoint,
  type EndpointService,
  EVENTS_MAX,
  type Machine,
  type MachineEvent,
  type MachineLease,
  type MachineStatus,
} from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { appFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { put, type Read, transact } from '../transact.ts'
import type { MachineControl } from './context.ts'
import { endpointServices } from './ports.ts'
import { shownState } from './state.ts'

/** Everything that the store holds about one machine. */
export interface MachineRecord {
  readonly machine: Machine
  readonly status: MachineStatus
  readonly endpoint: Endpoint | undefined
  /** The one in force, if any. */
  readonly lease: MachineLease | undefined
}

/** Which machine, and on whose behalf. */
export interface MachineTarget {
  readonly app: string
  readonly machine: string
  /** Header fly-machine-lease-nonce. */
  readonly nonce?: string | undefined
}

/** What a change makes of a record; what is absent stays. */
export interface MachineEdit {
  readonly machine?: Machine
  readonly event?: MachineEvent
  readonly ops?: readonly Op[]
}

/** `null`: nothing changes. What it reads is compared when the change is written. */
export type Editor = (
  record: MachineRecord,
  read: Read,
) => MachineEdit | null | Promise<MachineEdit | null>

export const machineNotFound = (id: string): FairwayError =>
  notFound(
    `machine not found: "${id}" is no machine of this app; "fairway machine list" shows them`,
  )

/** What tells an app from others of its name, before it and after it. */
export type AppIdentity = Pick<App, 'name' | 'org' | 'createdAt'>

/**
 * Whether a machine is the app's. An app's name can be taken anew, by another org, while machines of
 * the old one are still being taken away.
 */
export const belongs = (machine: Machine, app: AppIdentity): boolean =>
  machine.app === app.name && machine.org === app.org && machine.createdAt >= app.createdAt

/** Value of `machineId` keys. */
export interface MachineLocation {
  readonly app: string
  readonly host: string
}

/**
 * Reads a machine, lets `edit` decide, and writes machine, status and routing projection in one
 * transaction, so that edges see a stop before the host acts on it. `null`: nothing changes.
 * With `leased`, a lease that somebody else holds refuses the change.
 */
export async function changeMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget,
  options: { leased: boolean },
  edit: Editor,
): Promise<MachineRecord> {
  return changeRecord(control, await appFor(control, actor, target.app), target, options, edit)
}

/** The same for an app that is known already; nobody's rights are checked. */
export async function changeRecord(
  control: Control,
  app: AppIdentity,
  target: MachineTarget,
  options: { leased: boolean },
  edit: Editor,
): Promise<MachineRecord> {
  const done = await transact(control, async (read) => {
    const record = await readRecord(control, read, app, target.machine)
    if (options.leased) refuseForeignLease(control, record.lease, target.nonce)
    const made = await edit(record, read)
    if (!made) return { ops: [], result: record }
    const next = editedRecord(control, record, made)
    const ops = [
      ...(next.machine === record.machine
        ? []
        : [put(keys.machine(next.machine.host, next.machine.id), next.machine)]),
      ...(next.status === record.status ? [] : [put(keys.status(next.machine.id), next.status)]),
      ...(sameEndpoint(next.endpoint, record.endpoint)
        ? []
        : [put(keys.endpoint(next.machine.app, next.machine.id), next.endpoint)]),
      ...(made.ops ?? []),
    ]
    return { ops, result: next }
  })
  return done.result
}

async function readRecord(
  control: Control,
  read: Read,
  app: AppIdentity,
  id: string,
): Promise<MachineRecord> {
  const at = await read.peek<MachineLocation>(keys.machineId(id))
  if (!at || at.app !== app.name) throw machineNotFound(id)
  const [machine, status, endpoint, lease] = await Promise.all([
    read.get<Machine>(keys.machine(at.host, id)),
    read.get<MachineStatus>(keys.status(id)),
    read.get<Endpoint>(keys.endpoint(app.name, id)),
    read.get<MachineLease>(keys.lease(id)),
  ])
  if (!machine || !status || !belongs(machine, app)) throw machineNotFound(id)
  return { machine, status, endpoint, lease: leaseInForce(control, lease) }
}

function editedRecord(control: Control, record: MachineRecord, edit: MachineEdit): MachineRecord {
  const machine = edit.machine ?? record.machine
  const status = edit.event
    ? withEvents(record.status, [edit.event], isoTime(control.clock.now()))
    : record.status
  const services =
    record.endpoint && machine.instanceId === record.machine.instanceId
      ? record.endpoint.services
      : endpointServices(machine.config.services)
  return {
    machine,
    status,
    endpoint: projectEndpoint(machine, status, services, control.clock.now()),
    lease: record.lease,
  }
}

/** The routing projection of a machine; `nowMs` is when what begins to serve does so. */
export function projectEndpoint(
  machine: Machine,
  status: MachineStatus,
  services: EndpointService[],
  nowMs: number,
): Endpoint {
  const state = shownState(machine, status)
  const isUp = ({ healthy }: EndpointService) => state === 'started' && healthy
  return {
    machine: machine.id,
    app: machine.app,
    host: machine.host,
    region: machine.region,
    group: groupOf(machine),
    release: releaseOf(machine),
    v4: machine.v4,
    v6: machine.v6,
    state,
    cordoned: machine.cordoned,
    services: services.map((service) => ({
      ...service,
      upSinceMs: isUp(service) ? (service.upSinceMs ?? nowMs) : null,
    })),
  }
}

/** Both come from `projectEndpoint`, so their keys are in one order. */
export const sameEndpoint = (a: Endpoint | undefined, b: Endpoint | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b)

export const groupOf = (machine: Pick<Machine, 'config'>): string =>
  machine.config.metadata?.fly_process_group ?? machine.config.env?.FLY_PROCESS_GROUP ?? 'app'

/** What a deploy writes into the metadata; anything else there is no release. */
function releaseOf({ config }: Pick<Machine, 'config'>): number | null {
  const version = config.metadata?.fly_release_version ?? ''
  return /^[1-9]\d{0,8}$/.test(version) ? Number(version) : null
}

/** Adds events, given oldest first, those already known by id left out. */
export function withEvents(
  status: MachineStatus,
  events: readonly MachineEvent[],
  updatedAt: string,
): MachineStatus {
  const known = new Set(status.events.map((event) => event.id))
  const fresh = events.filter((event) => !known.has(event.id)).reverse()
  if (fresh.length === 0) return status
  return { ...status, events: [...fresh, ...status.events].slice(0, EVENTS_MAX), updatedAt }
}

/** An event for what a person asked for. */
export const userEvent = (nowMs: number, type: string, status: string): MachineEvent => ({
  id: ulid(nowMs),
  type,
  status,
  source: 'user',
  timestamp: nowMs,
})

/** The record as it is after asking its host to act. */
export const asking = (
  control: Control,
  machine: Machine,
  desired: Machine['desired'],
  action: Machine['action'] = null,
): Machine => ({
  ...machine,
  desired,
  action,
  generation: machine.generation + 1,
  updatedAt: isoTime(control.clock.now()),
})

export const leaseInForce = (
  control: Control,
  lease: MachineLease | undefined,
): MachineLease | undefined =>
  lease && lease.expiresAtMs > control.clock.now() ? lease : undefined

export function refuseForeignLease(
  control: Control,
  lease: MachineLease | undefined,
  nonce: string | undefined,
): void {
  if (!leaseInForce(control, lease) || !lease || lease.nonce === nonce) return
  const until = isoTime(lease.expiresAtMs)
  throw conflict(
    `lease currently held by ${lease.owner}, expires at ${until}; wait, or send its nonce as fly-machine-lease-nonce`,
  )
}

export const precondition = (message: string): FairwayError =>
  new FairwayError('failed_precondition', `failed_precondition: ${message}`, { status: 412 })
