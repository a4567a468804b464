import type { Control } from '../context.ts'
import type { Fleet } from '../fleet.ts'
import type { MachineHub } from './hub.ts'

/** What the functions about machines need beyond every other part of the control plane. */
export interface MachineControl extends Control {
  readonly fleet: Fleet
  readonly hub: MachineHub
}
