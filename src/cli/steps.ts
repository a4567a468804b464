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
}
export interface DestroyStep {
  readonly kind: 'destroy'
  readonly machine: ApiMachine
}

export interface RolloutOptions extends HealthOptions {
  /**
   * Rolling: a few at a time, each healthy before the next. Immediate: all at once, no waiting.
   * Bluegreen: new machines beside the old ones, which go when all new ones are healthy.
   */
  readonly strategy: 'rolling' | 'immediate' | 'bluegreen'
  /** Return when the machines were asked for, without waiting for them. */
  readonly detach: boolean
  /** Of a group, under `rolling`: below 1 a part of its machines, else a number of them. */
  readonly maxUnavailable?: number
  readonly minSecretsVersion?: number
}

export const MAX_UNAVAILABLE = 0.33
