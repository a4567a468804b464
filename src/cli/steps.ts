import type { MachineConfig } from '../model/machine-config.ts'
import type { ApiMachine } from './api-types.ts'
import type { HealthOptions } from './healthy.ts'

/** One step of bringing an app's machines to a new release. */
export type Step = CreateStep | UpdateStep | DestroyStep
export interface CreateStep {
  readonly kind: 'create'
  readonly group: string
  readonly region: string
  readonly config: MachineConfig
}
export interface UpdateStep {
  readonly kind: 'update'
  readonly machine: ApiMachine
  readonly config: MachineConfig
  /** It does not run, and is to: `min_machines_running` counts on it. */
  readonly starts?: boolean
}
export interface DestroyStep {
  readonly kind: 'destroy'
  readonly machine: ApiMachine
}

export const STRATEGIES = ['rolling', 'canary', 'bluegreen', 'immediate'] as const
export type Strategy = (typeof STRATEGIES)[number]

export interface RolloutOptions extends HealthOptions {
  /**
   * Rolling: a few at a time, each healthy before the next. Immediate: all at once, no waiting.
   * Bluegreen: new machines beside the old ones, which go when all new ones are healthy. Canary: one
   * new machine of each group, and when these are healthy the rest as rolling does.
   */
  readonly strategy: Strategy
  /** Return when the machines were asked for, without waiting for them. */
  readonly detach: boolean
  /** Of a group, under `rolling`: below 1 a part of its machines, else a number of them. */
  readonly maxUnavailable?: number
  readonly minSecretsVersion?: number
  /** Configs of the machines that check this one when it is healthy; rolling and canary alone. */
  readonly machineChecks?: (machine: ApiMachine) => readonly MachineConfig[]
}

export const RESTING: ReadonlySet<string> = new Set(['stopped', 'suspended', 'created'])

/** Whether the machine does not run before the step, and is not to after it. */
export const rests = ({ machine, starts }: UpdateStep): boolean =>
  RESTING.has(machine.state) && !starts

export const MAX_UNAVAILABLE = 0.33
