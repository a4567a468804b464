import { durationMs } from '../model/duration.ts'
import type { Machine, MachineState } from '../model/resources.ts'
import type { MachineRecord } from './record.ts'
import { DEFAULT_STOP_SIGNAL, isSignal, signalName } from './signals.ts'

/** What to do next with a machine: one step, after which the plan is made anew. */
export type Step =
  | {
      readonly do: 'stop'
      readonly why: 'stop' | 'restart' | 'replace' | 'destroy'
      readonly signal: string
      /** Then SIGKILL. */
      readonly timeoutMs: number
    }
  | { readonly do: 'start' }
  | { readonly do: 'signal'; readonly signal: string }
  /** Nothing runs: take everything of it away. */
  | { readonly do: 'destroy' }
  /** The generation is reached: note it and say so. `retry`: a start by itself that is to come. */
  | { readonly do: 'rest'; readonly state: MachineState; readonly retry?: MachineRecord['retry'] }
  | { readonly do: 'wait'; readonly untilMs: number }
  /** Destroyed, and nobody asks for it any more. */
  | { readonly do: 'forget' }
  | { readonly do: 'idle' }

/** A9: how long a machine may take to stop. */
const STOP_TIMEOUT_MS = 5_000
export const STOP_TIMEOUT_MS_MAX = 300_000

/**
 * The step from what was done (`record`) towards what is wanted (`target`; null when the control
 * plane knows the machine no more). Pure: it may be asked at any time, and after a crash.
 */
export function nextStep(record: MachineRecord, target: Machine | null, nowMs: number): Step {
  if (record.state === 'destroyed') return afterDestruction(record, target)
  if (!target || target.desired === 'destroyed')
    return record.run ? stopStep(record, target, 'destroy') : { do: 'destroy' }
  if (target.generation <= record.generation) return atRest(record, nowMs)
  if (target.desired === 'started') return towardsStarted(record, target, nowMs)
  if (record.run) return stopStep(record, target, 'stop')
  return { do: 'rest', state: target.desired }
}

function afterDestruction(record: MachineRecord, target: Machine | null): Step {
  if (!target) return { do: 'forget' }
  return target.generation > record.generation ? { do: 'rest', state: 'destroyed' } : { do: 'idle' }
}

/** Nobody asks for anything: only what the machine does by itself. */
function atRest(record: MachineRecord, nowMs: number): Step {
  if (record.run) return { do: 'idle' }
  if (record.retry) return startAt(record.retry.atMs, nowMs)
  if (record.state === 'stopped' && record.machine.config.auto_destroy) return { do: 'destroy' }
  return { do: 'idle' }
}

function towardsStarted(record: MachineRecord, target: Machine, nowMs: number): Step {
  const { run, retry } = record
  const again = record.stoppedFor !== target.generation
  const signal = target.action?.restart ? undefined : target.action?.signal
  if (!run) {
    if (retry?.generation === target.generation) return startAt(retry.atMs, nowMs)
    // A signal asks for no start; a host that starts over with the machine does.
    if (signal && record.generation >= 0) return { do: 'rest', state: record.state, retry }
    return { do: 'start' }
  }
  if (run.instanceId !== target.instanceId) return stopStep(record, target, 'replace')
  // It ends whatever is asked for now.
  if (run.stopRequested) return stopStep(record, target, 'restart')
  if (target.action?.restart && again) return stopStep(record, target, 'restart')
  if (signal && again && isSignal(signal)) return { do: 'signal', signal: signalName(signal) }
  return { do: 'rest', state: 'started' }
}

const startAt = (atMs: number, nowMs: number): Step =>
  nowMs >= atMs ? { do: 'start' } : { do: 'wait', untilMs: atMs }

type StopStep = Extract<Step, { do: 'stop' }>

function stopStep(record: MachineRecord, target: Machine | null, why: StopStep['why']): Step {
  const action = target?.action
  // Nothing of its own runs before the start, so nothing can be asked to end.
  if (action?.kill || record.run?.startedAtMs === null)
    return { do: 'stop', why, signal: 'SIGKILL', timeoutMs: 0 }
  const { stop_config } = record.machine.config
  const timeoutMs = action?.timeoutMs ?? durationMs(stop_config?.timeout, STOP_TIMEOUT_MS)
  return {
    do: 'stop',
    why,
    signal: knownSignal(action?.signal ?? stop_config?.signal),
    timeoutMs: Math.min(Math.max(0, timeoutMs), STOP_TIMEOUT_MS_MAX),
  }
}

/** A config with a signal that does not exist must still stop. */
const knownSignal = (text: string | undefined): string =>
  signalName(text && isSignal(text) ? text : DEFAULT_STOP_SIGNAL)
