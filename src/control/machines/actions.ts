import { FairwayError } from '../../base/errors.ts'
import { durationMs } from '../../model/duration.ts'
import type { Machine, MachineState } from '../../model/resources.ts'
import type { Actor, Control } from '../context.ts'
import type { Read } from '../transact.ts'
import { STOP_TIMEOUT_MAX_MS, signalName } from './config.ts'
import type { MachineControl } from './context.ts'
import { machinesOfApp } from './query.ts'
import {
  type AppIdentity,
  asking,
  changeMachine,
  changeRecord,
  type MachineRecord,
  type MachineTarget,
  precondition,
  userEvent,
} from './records.ts'
import { shownState } from './state.ts'

/** What people ask of a machine that exists. Each answers as soon as the wish is stored. */

export interface StopOptions {
  readonly signal?: string | number | undefined
  /** Go duration, or seconds; zero and absent mean the config's own. */
  readonly timeout?: string | number | undefined
}

const stateOf = (record: MachineRecord): MachineState => shownState(record.machine, record.status)

export interface Started {
  readonly record: MachineRecord
  readonly previousState: MachineState
}

export async function startMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget,
): Promise<Started> {
  let previousState: MachineState = 'created'
  const record = await changeMachine(control, actor, target, { leased: true }, (current) => {
    previousState = stateOf(current)
    refuseDestroyed(previousState, 'start')
    if (isUp(previousState) && current.machine.desired === 'started') return null
    const machine = asking(control, current.machine, 'started')
    return { machine, event: userEvent(control.clock.now(), 'start', 'starting') }
  })
  return { record, previousState }
}

export async function stopMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget & StopOptions,
): Promise<MachineRecord> {
  const action = stopAction(target)
  return changeMachine(control, actor, target, { leased: true }, (current) => {
    const state = stateOf(current)
    refuseDestroyed(state, 'stop')
    if (state === 'created') throw precondition('unable to stop machine, it was never started')
    if (state === 'stopped' && current.machine.desired === 'stopped') return null
    const machine = asking(control, current.machine, 'stopped', action)
    return { machine, event: userEvent(control.clock.now(), 'stop', 'stopping') }
  })
}

export async function restartMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget & StopOptions & { readonly force?: boolean | undefined },
): Promise<MachineRecord> {
  const action = { ...stopAction(target), restart: true, ...(target.force ? { kill: true } : {}) }
  return changeMachine(control, actor, target, { leased: true }, (current) => {
    refuseDestroyed(stateOf(current), 'restart')
    const machine = asking(control, current.machine, 'started', action)
    return { machine, event: userEvent(control.clock.now(), 'restart', 'restarting') }
  })
}

/** Sends a signal to the machine's process; what it should be does not change. */
export async function signalMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget & { readonly signal: string | number },
): Promise<MachineRecord> {
  const signal = requireSignal(target.signal)
  return changeMachine(control, actor, target, { leased: false }, (current) => {
    const state = stateOf(current)
    if (state !== 'started')
      throw precondition(
        `unable to signal machine, it is ${state}; only a started one has a process`,
      )
    return { machine: asking(control, current.machine, 'started', { signal }) }
  })
}

/**
 * A11 lets a suspension fall back to a stop, and here it always does: memory is not kept, the next
 * start is an ordinary one.
 */
export async function suspendMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget,
): Promise<MachineRecord> {
  return changeMachine(control, actor, target, { leased: true }, (current) => {
    const state = stateOf(current)
    if (state === 'stopped' && current.machine.desired === 'stopped') return null
    if (!isUp(state)) throw precondition(`unable to suspend machine from current state: '${state}'`)
    const machine = asking(control, current.machine, 'stopped', {})
    return { machine, event: userEvent(control.clock.now(), 'suspend', 'stopping') }
  })
}

/** A started machine is destroyed only by force; its record ends when its host has taken it away. */
export async function destroyMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget & { readonly force: boolean },
): Promise<MachineRecord> {
  return changeMachine(control, actor, target, { leased: true }, (current) => {
    const state = stateOf(current)
    if (current.machine.desired === 'destroyed') return null
    if (!target.force && !DESTROYABLE.includes(state)) {
      throw precondition(
        `unable to destroy machine, not currently stopped or suspended (it is ${state}); stop it first, or use force`,
      )
    }
    const action = target.force ? { kill: true } : null
    const machine = asking(control, current.machine, 'destroyed', action)
    return { machine, event: userEvent(control.clock.now(), 'destroy', 'destroying') }
  })
}

const DESTROYABLE: readonly MachineState[] = [
  'created',
  'stopped',
  'suspended',
  'failed',
  'destroyed',
]

/**
 * Has every machine of an app taken away, leases or not, while `holds` says yes of what it reads.
 * Resolves with their ids when the wish is stored.
 */
export async function destroyMachinesOf(
  control: Control,
  app: AppIdentity,
  holds: (read: Read) => Promise<boolean>,
): Promise<string[]> {
  const queue = await machinesOfApp(control, app)
  const ids = queue.map(({ machine }) => machine.id)
  const work = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const target = { app: app.name, machine: next.machine.id }
      await changeRecord(control, app, target, { leased: false }, async ({ machine }, read) => {
        if (machine.desired === 'destroyed' || !(await holds(read))) return null
        return { machine: asking(control, machine, 'destroyed', { kill: true }) }
      }).catch(ignoreGone)
    }
  }
  await Promise.all(Array.from({ length: DESTROY_CONCURRENCY }, work))
  return ids
}
const DESTROY_CONCURRENCY = 16

function ignoreGone(error: unknown): void {
  if (!(error instanceof FairwayError && error.status === 404)) throw error
}

/** S41: a cordoned machine runs on but gets no traffic. */
export async function cordonMachine(
  control: MachineControl,
  actor: Actor,
  target: MachineTarget & { readonly cordoned: boolean },
): Promise<MachineRecord> {
  return changeMachine(control, actor, target, { leased: true }, (current) => {
    refuseDestroyed(stateOf(current), target.cordoned ? 'cordon' : 'uncordon')
    if (current.machine.cordoned === target.cordoned) return null
    const type = target.cordoned ? 'cordon' : 'uncordon'
    return {
      machine: { ...current.machine, cordoned: target.cordoned },
      event: userEvent(control.clock.now(), type, stateOf(current)),
    }
  })
}

const isUp = (state: MachineState): boolean =>
  state === 'started' || state === 'starting' || state === 'restarting' || state === 'replacing'

function refuseDestroyed(state: MachineState, verb: string): void {
  if (state !== 'destroying' && state !== 'destroyed') return
  throw precondition(`unable to ${verb} machine from current state: '${state}'`)
}

function stopAction(options: StopOptions): NonNullable<Machine['action']> {
  const timeoutMs = timeoutOf(options.timeout)
  const given = options.signal !== undefined && options.signal !== ''
  return {
    ...(given ? { signal: requireSignal(options.signal!) } : {}),
    ...(timeoutMs > 0 ? { timeoutMs } : {}),
  }
}

function timeoutOf(timeout: string | number | undefined): number {
  const text = String(timeout ?? 0)
  const seconds = /^\d+(\.\d+)?$/.test(text)
  if (!seconds && !/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text))
    throw new FairwayError('invalid', `timeout: "${text}" is no duration; use one like "10s"`)
  const timeoutMs = seconds ? Number(text) * 1_000 : durationMs(text, 0)
  if (timeoutMs <= STOP_TIMEOUT_MAX_MS) return timeoutMs
  throw new FairwayError('invalid', `timeout: "${text}" is too long; at most 5m`)
}

function requireSignal(signal: string | number): string {
  const name = signalName(signal)
  if (name !== undefined) return name
  throw new FairwayError(
    'invalid',
    `signal: "${signal}" is no signal; use one like "SIGTERM" or 15`,
  )
}
