import { backoffMs } from '../base/clock.ts'
import type { MachineConfig } from '../model/machine-config.ts'
import type { SandboxExit } from './runtime.ts'

/** What Fly Launch gives machines whose config says nothing: on failure, ten times in a row. */
const DEFAULT_POLICY = 'on-failure'
const DEFAULT_RETRIES_MAX = 10
/** A machine that has run for so long starts counting anew. */
export const RUN_WELL_MS = 60_000
const BACKOFF = { firstMs: 100, maxMs: 30_000 }

type How = Pick<SandboxExit, 'code' | 'oomKilled'>

export interface RestartPlan {
  /** Automatic restarts so far, with this one. */
  readonly restarts: number
  /** Null: it stays down. */
  readonly delayMs: number | null
  /** It would have been started again, had it not failed too often. */
  readonly exhausted: boolean
}

/**
 * What follows an exit that nobody asked for. `always` restarts without end; `on-failure` after a
 * status other than 0, `max_retries` times in a row; `no` never.
 */
export function planRestart(
  config: MachineConfig,
  exit: How,
  ran: { readonly forMs: number; readonly restarts: number },
  random: () => number,
): RestartPlan {
  const policy = restartPolicy(config)
  const restarts = ran.forMs >= RUN_WELL_MS ? 0 : ran.restarts
  const wanted = policy === 'always' || (policy === 'on-failure' && failed(exit))
  if (!wanted) return { restarts, delayMs: null, exhausted: false }
  if (policy === 'on-failure' && restarts >= retriesMax(config))
    return { restarts, delayMs: null, exhausted: true }
  const delayMs = Math.round(backoffMs(restarts, random, BACKOFF))
  return { restarts: restarts + 1, delayMs, exhausted: false }
}

export const restartPolicy = (config: MachineConfig): 'no' | 'on-failure' | 'always' =>
  config.restart?.policy ?? DEFAULT_POLICY

export const retriesMax = (config: MachineConfig): number =>
  config.restart?.max_retries ?? DEFAULT_RETRIES_MAX

const failed = (exit: How): boolean => exit.code !== 0 || exit.oomKilled
