import { FairwayError, messageOf } from '../base/errors.ts'
import type { Machine, MachineEvent } from '../model/resources.ts'
import { machineEvent } from './events.ts'
import type { Step } from './plan.ts'
import type { MachineRecord, MachineRun } from './record.ts'

/** What the worker's steps say and mean, without the doing. */

/** A run whose sandbox is yet to be made. */
export const newRun = ({ instanceId }: Machine): MachineRun => ({
  ...{ instanceId, startedAtMs: null, stopRequested: false },
})

export const STOPPING_STATE = {
  stop: 'stopping',
  restart: 'restarting',
  replace: 'replacing',
  destroy: 'destroying',
} as const

/** Before the desired state is known a machine only goes on as it last was asked to. */
export const restingTarget = (record: MachineRecord): Machine => ({
  ...record.machine,
  generation: Math.min(record.machine.generation, record.generation),
  desired: record.machine.desired === 'destroyed' ? 'stopped' : record.machine.desired,
})

const NO_SUCH_COMMAND = /exec: .*(not found|no such file or directory|permission denied)/i

/** An error that another attempt would meet again: the request's own fault (4xx), or its command's. */
export const isFinal = (error: unknown): boolean =>
  error instanceof FairwayError
    ? error.status >= 400 && error.status < 500
    : NO_SUCH_COMMAND.test(messageOf(error))

/** What is said of a stop that begins. */
export function stopEvents(
  why: Extract<Step, { do: 'stop' }>['why'],
  nowMs: number,
): MachineEvent[] {
  if (why === 'restart') return [machineEvent(nowMs, 'restart', 'restarting', 'user')]
  if (why === 'replace') return [machineEvent(nowMs, 'update', 'replacing', 'user')]
  if (why === 'stop') return [machineEvent(nowMs, 'stop', 'stopping', 'user')]
  return []
}
