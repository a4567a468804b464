import { keys } from '../../model/keys.ts'
import type { App, Endpoint, Machine, MachineStatus } from '../../model/resources.ts'
import { appFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { readAll, readOne } from '../transact.ts'
import type { MachineControl } from './context.ts'
import {
  type AppIdentity,
  belongs,
  type MachineLocation,
  type MachineTarget,
  machineNotFound,
} from './records.ts'

/** Reading machines. */

export const MACHINES_PER_APP_MAX = 10_000

/** A machine's record and what its host saw of it. */
export interface SeenMachine {
  readonly machine: Machine
  readonly status: MachineStatus
}

/** For a while this also finds a machine that was destroyed. */
export async function getMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget,
): Promise<SeenMachine> {
  const [app, at] = await Promise.all([
    appFor(control, actor, target.app),
    readOne<MachineLocation>(control.store, keys.machineId(target.machine)),
  ])
  if (!at || at.app !== app.name) throw machineNotFound(target.machine)
  const seen = await readMachine(control, at, target.machine)
  if (!seen || !belongs(seen.machine, app)) throw machineNotFound(target.machine)
  return seen
}

/** The app of a machine, for callers that know its id alone; undefined when the actor may not. */
export async function findMachineApp(
  control: Control,
  actor: Actor,
  machine: string,
): Promise<App | undefined> {
  const at = await readOne<MachineLocation>(control.store, keys.machineId(machine))
  return at && appFor(control, actor, at.app)
}

/**
 * Whether what a host says of this machine may be shown as the app's: an app's name can be taken
 * anew while machines of the old one are still there. Nothing is known of a machine long gone.
 */
export async function mayBeShown(
  control: MachineControl,
  app: App,
  machine: string,
): Promise<boolean> {
  const at = await readOne<MachineLocation>(control.store, keys.machineId(machine))
  if (!at) return true
  if (at.app !== app.name) return false
  const record =
    (await readOne<Machine>(control.store, keys.machine(at.host, machine))) ??
    (await readOne<Machine>(control.store, keys.destroyed(app.name, machine)))
  return record === undefined || belongs(record, app)
}

export interface MachineFilter {
  readonly app: string
  readonly region?: string | undefined
  /** Also those that were destroyed a short while ago. */
  readonly includeDeleted?: boolean | undefined
}

/** Oldest first. */
export async function listMachines(
  control: MachineControl,
  actor: Actor,
  filter: MachineFilter,
): Promise<SeenMachine[]> {
  const app = await appFor(control, actor, filter.app)
  const machines = await machinesOfApp(control, app)
  const gone = filter.includeDeleted ? await destroyedOfApp(control, app) : []
  return [...machines, ...gone]
    .filter(({ machine }) => !filter.region || machine.region === filter.region)
    .sort((a, b) => (a.machine.createdAt < b.machine.createdAt ? -1 : 1))
}

/** Those that are not destroyed yet; no check of who asks. */
export async function machinesOfApp(control: Control, app: AppIdentity): Promise<SeenMachine[]> {
  const prefix = `endpoint/${app.name}/`
  const endpoints = await readAll<Endpoint>(control.store, prefix, MACHINES_PER_APP_MAX)
  const seen = await Promise.all(
    endpoints.map(({ value }) => readMachine(control, value, value.machine)),
  )
  return seen.filter((one) => one !== undefined && belongs(one.machine, app)) as SeenMachine[]
}

async function destroyedOfApp(control: MachineControl, app: App): Promise<SeenMachine[]> {
  const prefix = `destroyed/${app.name}/`
  const entries = await readAll<Machine>(control.store, prefix, MACHINES_PER_APP_MAX)
  const seen = await Promise.all(
    entries.map(async ({ value }) => {
      const status = await readOne<MachineStatus>(control.store, keys.status(value.id))
      return status && { machine: value, status }
    }),
  )
  return seen.filter((one) => one !== undefined && belongs(one.machine, app)) as SeenMachine[]
}

async function readMachine(
  control: Control,
  at: MachineLocation,
  id: string,
): Promise<SeenMachine | undefined> {
  const [machine, status] = await Promise.all([
    readOne<Machine>(control.store, keys.machine(at.host, id)),
    readOne<MachineStatus>(control.store, keys.status(id)),
  ])
  const record = machine ?? (await readOne<Machine>(control.store, keys.destroyed(at.app, id)))
  return record && status && { machine: record, status }
}
