import type { MachineEvent } from '../model/resources.ts'
import { machineEvent } from './events.ts'
import type { MachineRecord } from './record.ts'
import { restartPolicy } from './restart.ts'
import type { Sandbox, SandboxExit } from './runtime.ts'

/** Stands for the exit code of a run whose end nobody saw: that of a killed process. */
export const CODE_UNKNOWN = 137

/** What a new agent makes of a machine that an earlier one left behind. */
export type Adoption =
  /** Nothing ran. `standsBy`: it was kept ready to start, and shall be again. */
  | { readonly found: 'down'; readonly standsBy: boolean }
  /** It runs; the record may yet have to say so. */
  | { readonly found: 'running'; readonly change: Change | null; readonly event?: MachineEvent }
  /** It ran and has ended, and is handled like an exit that was seen. */
  | { readonly found: 'ended'; readonly exit: SandboxExit; readonly remove: boolean }
  /**
   * Its start was under way, or it went with its host: it starts anew. `change` is saved before
   * anything is taken away, or yet another agent would take what was removed for an exit.
   */
  | {
      readonly found: 'gone'
      readonly change: Change
      readonly event?: MachineEvent
      /** For the app's log. */
      readonly warning?: string
    }

type Change = Partial<MachineRecord>

/** Pure: what `record` says of a machine against the sandbox that is there of it. */
export function planAdoption(
  record: MachineRecord,
  sandbox: Sandbox | undefined,
  nowMs: number,
): Adoption {
  const { run, state } = record
  if (!run) {
    return { found: 'down', standsBy: sandbox?.state === 'created' && state === 'stopped' }
  }
  if (sandbox?.state === 'running') return stillRunning(record, nowMs)
  if (sandbox?.exit) return { found: 'ended', exit: sandbox.exit, remove: false }
  const mayHaveRun = run.startedAtMs !== null || sandbox?.state === 'lost'
  return mayHaveRun ? lost(record, sandbox, nowMs) : unstarted(record, nowMs)
}

function stillRunning({ run, state }: MachineRecord, nowMs: number): Adoption {
  if (run!.startedAtMs === null) {
    return {
      found: 'running',
      change: { run: { ...run!, startedAtMs: nowMs }, state: 'started', retry: null },
      event: machineEvent(nowMs, 'start', 'started', 'flyd'),
    }
  }
  const isLate = state !== 'started' && !run!.stopRequested
  return { found: 'running', change: isLate ? { state: 'started' } : null }
}

/** Nothing of it has run, so nothing has ended either. */
const unstarted = ({ run, generation }: MachineRecord, nowMs: number): Adoption => ({
  found: 'gone',
  change: { run: null, retry: run!.stopRequested ? null : { atMs: nowMs, generation } },
})

/** Gone without a trace with its host, or running on without its supervisor. */
function lost(record: MachineRecord, sandbox: Sandbox | undefined, nowMs: number): Adoption {
  const { run, machine, generation } = record
  const isOver = run!.stopRequested || restartPolicy(machine.config) === 'no'
  if (isOver || sandbox?.state === 'lost') {
    const exit = { code: CODE_UNKNOWN, oomKilled: false, atMs: nowMs }
    return { found: 'ended', exit, remove: true }
  }
  return {
    found: 'gone',
    change: { run: null, state: 'starting', retry: { atMs: nowMs, generation }, restarts: 0 },
    event: machineEvent(nowMs, 'restart', 'starting', 'flyd'),
    warning: 'Machine was lost with its host and starts again',
  }
}
