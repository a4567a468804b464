import { z } from 'zod'
import { isoTime } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import { CHECKS_MAX } from '../../model/machine-config.ts'
import {
  CheckStatus,
  type Endpoint,
  type EndpointService,
  EVENTS_MAX,
  MACHINE_STATES,
  type Machine,
  MachineEvent,
  type MachineStatus,
} from '../../model/resources.ts'
import { EGRESS_DRAINED_MAX, type HostReport, type MachineReport } from '../../model/wire.ts'
import type { Op } from '../../store/store.ts'
import { vacateOps } from '../egress/machines.ts'
import { del, put, type Read, transact } from '../transact.ts'
import { slotOfV4 } from './addresses.ts'
import { SERVICES_MAX } from './config.ts'
import type { MachineControl } from './context.ts'
import { endpointServices } from './ports.ts'
import { asking, projectEndpoint, sameEndpoint, userEvent, withEvents } from './records.ts'

/** What hosts say about their machines, written to the store. Repeats change nothing. */

/** How long a destroyed machine can still be read. */
export const DESTROYED_KEPT_MS = 10 * 60_000
/** Destroyed machines of so long share one lease of the store. */
const TOMB_LEASE_SHARED_MS = 60_000
export const REPORT_MACHINES_MAX = 4_096
/** Reports that are applied at once. The store groups concurrent transactions. */
const REPORT_CONCURRENCY = 16
const CHECK_OUTPUT_LENGTH_MAX = 512
const EGRESS_PROBLEM_LENGTH_MAX = 512

/** A host's report, checked: a host may lie about its own machines but must not harm others. */
export const HostReportSchema = z.object({
  host: z.string(),
  meshPublicKey: z.string(),
  edgeRevision: z.number().int().min(0).nullable(),
  egressRevision: z.number().int().min(0).nullable(),
  egressDrained: z
    .array(z.object({ pair: z.string().max(64), slot: z.number().int().min(0).max(63) }))
    .max(EGRESS_DRAINED_MAX),
  machines: z
    .array(
      z.object({
        machine: z.string().max(64),
        app: z.string().max(128),
        instanceId: z.string().max(64),
        /** -1: the host has not brought it to rest once. */
        generation: z.number().int().min(-1),
        state: z.enum(MACHINE_STATES),
        checks: z
          .array(
            CheckStatus.extend({
              output: z.string().transform((text) => text.slice(0, CHECK_OUTPUT_LENGTH_MAX)),
            }),
          )
          .max(CHECKS_MAX),
        services: z
          .array(
            z.object({
              healthy: z.boolean(),
              load: z.union([z.literal(0), z.literal(1), z.literal(2)]),
            }),
          )
          .max(SERVICES_MAX),
        egressProblem: z
          .string()
          .transform((text) => text.slice(0, EGRESS_PROBLEM_LENGTH_MAX))
          .nullable(),
        events: z.array(MachineEvent).transform((events) => events.slice(-EVENTS_MAX)),
        gone: z.boolean(),
      }),
    )
    .max(REPORT_MACHINES_MAX),
})

/** Gives the lease under which the remains of destroyed machines stand. */
export class TombLeases {
  #lease: { id: string; grantedMs: number } | undefined

  async current(control: MachineControl): Promise<string> {
    const nowMs = control.clock.now()
    if (this.#lease && nowMs - this.#lease.grantedMs < TOMB_LEASE_SHARED_MS) return this.#lease.id
    const id = await control.store.leases.grant(DESTROYED_KEPT_MS)
    this.#lease = { id, grantedMs: nowMs }
    return id
  }
}

/**
 * Applies the machines of a report. `host` is who really sent it: machines of other hosts are left
 * alone. Throws when one could not be written; the host sends it again.
 */
export async function applyMachineReports(
  control: MachineControl,
  tombs: TombLeases,
  host: string,
  reports: HostReport['machines'],
): Promise<void> {
  const queue = [...reports]
  const failures: unknown[] = []
  const work = async () => {
    for (let report = queue.shift(); report; report = queue.shift()) {
      try {
        await applyOne(control, tombs, host, report)
      } catch (error) {
        control.log.warn(
          { host, machine: report.machine, error: messageOf(error) },
          'report failed',
        )
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(REPORT_CONCURRENCY, queue.length) }, work))
  if (failures.length > 0) throw failures[0]
}

async function applyOne(
  control: MachineControl,
  tombs: TombLeases,
  host: string,
  report: MachineReport,
): Promise<void> {
  const tomb = report.gone ? await tombs.current(control) : undefined
  await transact(control, async (read) => {
    const machine = await read.get<Machine>(keys.machine(host, report.machine))
    // Not this host's, or destroyed already: the host learns so from its feed.
    if (!machine) return { ops: [], result: undefined }
    const ops = await reportOps(control, read, machine, report, tomb)
    return { ops, result: undefined }
  })
}

async function reportOps(
  control: MachineControl,
  read: Read,
  machine: Machine,
  report: MachineReport,
  tomb: string | undefined,
): Promise<Op[]> {
  const [status, endpoint] = await Promise.all([
    read.get<MachineStatus>(keys.status(machine.id)),
    read.get<Endpoint>(keys.endpoint(machine.app, machine.id)),
  ])
  if (!status) return []
  const now = isoTime(control.clock.now())
  const seen = seenStatus(machine, status, report, now)
  // A host ends a machine with auto_destroy by itself; any other only when asked.
  const mayGo = machine.desired === 'destroyed' || machine.config.auto_destroy === true
  if (tomb !== undefined && mayGo)
    return [...burial(machine, seen, tomb), ...(await vacateOps(control, read, machine))]
  const asked = dueForAutoDestroy(machine, seen)
    ? asking(control, machine, 'destroyed', { kill: true })
    : machine
  const next =
    asked === machine
      ? seen
      : withEvents(seen, [userEvent(control.clock.now(), 'destroy', 'destroying')], now)
  const services = seenServices(machine, endpoint, report)
  const projected = projectEndpoint(asked, next, services, control.clock.now())
  return [
    ...(asked === machine ? [] : [put(keys.machine(machine.host, machine.id), asked)]),
    ...(next === status ? [] : [put(keys.status(machine.id), next)]),
    ...(sameEndpoint(projected, endpoint)
      ? []
      : [put(keys.endpoint(machine.app, machine.id), projected)]),
  ]
}

/** The status after a report; the very same object when the report says nothing new. */
function seenStatus(
  machine: Machine,
  status: MachineStatus,
  report: MachineReport,
  now: string,
): MachineStatus {
  // What users asked for was noted when they asked.
  const seenByHost = report.events.filter((event) => event.source !== 'user')
  const merged = withEvents(status, seenByHost, now)
  // A report that was overtaken by a later one still has its events to tell.
  if (report.generation < status.generation || report.generation > machine.generation) return merged
  const next: MachineStatus = {
    ...merged,
    instanceId: report.instanceId,
    generation: report.generation,
    state: report.state,
    checks: [...report.checks],
    egressProblem: report.egressProblem,
  }
  const told = (s: MachineStatus) =>
    JSON.stringify([s.instanceId, s.generation, s.state, s.checks, s.egressProblem])
  if (told(next) === told(merged)) return merged
  return { ...next, updatedAt: now }
}

function seenServices(
  machine: Machine,
  endpoint: Endpoint | undefined,
  report: MachineReport,
): EndpointService[] {
  const services = endpoint?.services ?? endpointServices(machine.config.services)
  // A report about an older version says nothing about the services of this one.
  if (report.instanceId !== machine.instanceId) return services
  return services.map((service, i) => ({ ...service, ...report.services[i] }))
}

/** Removes a destroyed machine, but for what can still be read of it for a while. */
function burial(machine: Machine, status: MachineStatus, lease: string): Op[] {
  const kept = (key: string, value: unknown): Op => ({
    put: key,
    value: JSON.stringify(value),
    lease,
  })
  return [
    del(keys.machine(machine.host, machine.id)),
    del(keys.endpoint(machine.app, machine.id)),
    del(keys.slot(machine.host, slotOfV4(machine.v4))),
    del(keys.machineName(machine.app, machine.name)),
    del(keys.lease(machine.id)),
    kept(keys.status(machine.id), {
      ...status,
      state: 'destroyed',
      generation: machine.generation,
    }),
    kept(keys.destroyed(machine.app, machine.id), machine),
    kept(keys.machineId(machine.id), { app: machine.app, host: machine.host }),
  ]
}

/** `auto_destroy`: when the machine's process has ended for good, nobody needs the machine. */
function dueForAutoDestroy(machine: Machine, status: MachineStatus): boolean {
  if (!machine.config.auto_destroy || machine.desired === 'destroyed') return false
  if (status.state !== 'stopped' && status.state !== 'failed') return false
  if (status.generation < machine.generation) return false
  const last = status.events.find((event) => event.type === 'exit' || event.type === 'start')
  return last?.type === 'exit' && last.request?.exit_event?.restarting !== true
}
