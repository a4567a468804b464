import { isoTime } from '../base/clock.ts'
import { ulid } from '../base/ids.ts'
import type { ExitEvent, MachineEvent } from '../model/resources.ts'
import type { SandboxExit } from './runtime.ts'

/** The Machines API's word for "no signal". */
const NO_SIGNAL = -1
const SIGNALS_MAX = 64

export function machineEvent(
  nowMs: number,
  type: 'launch' | 'start' | 'restart' | 'update' | 'stop' | 'destroy',
  status: string,
  source: 'flyd' | 'user',
  request?: MachineEvent['request'],
): MachineEvent {
  const base = { id: ulid(nowMs), type, status, source, timestamp: nowMs }
  return request ? { ...base, request } : base
}

/** An `exit` event; clients insist on its `request.exit_event` (flyctl-api 4.2). */
export function exitedEvent(
  exit: SandboxExit,
  about: { requested: boolean; restarting: boolean; restarts: number },
): MachineEvent {
  const signal = signalOfCode(exit.code)
  const exitEvent: ExitEvent = {
    exit_code: exit.code,
    guest_exit_code: exit.code,
    guest_signal: signal,
    oom_killed: exit.oomKilled,
    requested_stop: about.requested,
    restarting: about.restarting,
    signal,
    exited_at: isoTime(exit.atMs),
  }
  return {
    id: ulid(exit.atMs),
    type: 'exit',
    status: 'stopped',
    source: 'flyd',
    timestamp: exit.atMs,
    request: { exit_event: exitEvent, restart_count: about.restarts },
  }
}

/** 128 + n is what a shell and the runtime say of a process that signal n ended. */
export const signalOfCode = (code: number): number =>
  code > 128 && code <= 128 + SIGNALS_MAX ? code - 128 : NO_SIGNAL
