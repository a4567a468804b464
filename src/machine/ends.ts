import { backoffMs } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Machine, MachineEvent } from '../model/resources.ts'
import { exitedEvent, machineEvent } from './events.ts'
import type { MachineRecord } from './record.ts'
import { planRestart, type RestartPlan } from './restart.ts'
import type { SandboxExit } from './runtime.ts'
import { isFinal } from './steps.ts'

/** A sandbox that was asked for and cannot be made is tried so often, then the machine has failed. */
const START_FAILURES_MAX = 3
const START_BACKOFF = { firstMs: 200, maxMs: 5_000 }
/** For the restart policy a sandbox that was not made is a program that failed at once. */
const NOT_MADE = { code: 1, oomKilled: false }

/** What is written down when a run, or an attempt at one, has ended. */
interface Ended {
  readonly change: Partial<MachineRecord>
  readonly events: readonly MachineEvent[]
}

export interface Chance {
  readonly nowMs: number
  readonly random: () => number
}

/** Pure: what follows the exit of a run; `target` is what is wanted of the machine, where it is known. */
export function planExit(
  record: MachineRecord,
  target: Machine | null | undefined,
  exit: SandboxExit,
  { nowMs, random }: Chance,
): Ended & { readonly restart: RestartPlan } {
  const { run, machine, generation, restarts, state, stoppedFor } = record
  const requested = run!.stopRequested
  const forMs = exit.atMs - (run!.startedAtMs ?? exit.atMs)
  const restart = requested
    ? { restarts, delayMs: null, exhausted: false }
    : planRestart(machine.config, exit, { forMs, restarts }, random)
  const { delayMs } = restart
  const restarting = delayMs !== null
  const isForTarget = requested && target && target.generation > generation
  const exited = exitedEvent(exit, { requested, restarting, restarts: restart.restarts })
  return {
    restart,
    change: {
      run: null,
      state: requested ? state : restarting ? 'restarting' : 'stopped',
      restarts: restart.restarts,
      retry: restarting ? { atMs: nowMs + delayMs, generation } : null,
      stoppedFor: isForTarget ? target.generation : stoppedFor,
    },
    events: restarting ? [exited, machineEvent(nowMs, 'restart', 'starting', 'flyd')] : [exited],
  }
}

/** Pure: what follows a start of `machine` that failed; `attempt` counts from 0. */
export function planFailedStart(
  record: MachineRecord,
  machine: Machine,
  failure: { readonly error: unknown; readonly attempt: number },
  { nowMs, random }: Chance,
): Ended & { readonly isFinal: boolean } {
  const { error, attempt } = failure
  const { run, bundle } = record
  const { generation } = machine
  const { restarts, delayMs } = planRetry(record, machine, attempt, random)
  // It may be what is at fault: torn by a power failure, or of something that is not there any more.
  const kept = { run: null, bundle: run ? null : bundle }
  if (isFinal(error) || delayMs === null) {
    const request = { error: messageOf(error) }
    return {
      isFinal: true,
      change: { ...kept, state: 'failed', generation, stoppedFor: null, retry: null },
      events: [machineEvent(nowMs, 'start', 'failed', 'flyd', request)],
    }
  }
  return {
    isFinal: false,
    change: { ...kept, restarts, retry: { atMs: nowMs + delayMs, generation } },
    events: [],
  }
}

/** Null: no more. The restart policy says how often a start that nobody asked for is tried. */
function planRetry(
  { run, generation, restarts }: MachineRecord,
  machine: Machine,
  attempt: number,
  random: () => number,
): Pick<RestartPlan, 'restarts' | 'delayMs'> {
  if (run && machine.generation <= generation)
    return planRestart(machine.config, NOT_MADE, { forMs: 0, restarts }, random)
  const isOver = run !== null && attempt + 1 >= START_FAILURES_MAX
  const delayMs = isOver ? null : Math.round(backoffMs(attempt, random, START_BACKOFF))
  return { restarts, delayMs }
}
