import type { Control } from '../context.ts'
import { FLEET_PREFIXES, Fleet } from '../fleet.ts'
import { type FollowSink, follow } from '../follow.ts'
import { HUB_PREFIXES, MachineHub } from './hub.ts'

/** What the control plane keeps in memory about machines, following the store until it is stopped. */
export interface FleetState {
  readonly fleet: Fleet
  readonly hub: MachineHub
  stop(): Promise<void>
}

type Needs = Pick<Control, 'store' | 'clock' | 'log' | 'random'>

/** Resolves when the first state has been read. */
export async function startFleetState(control: Needs): Promise<FleetState> {
  const fleet = new Fleet(control.random)
  const hub = new MachineHub()
  const abort = new AbortController()
  const run = (sink: FollowSink, prefixes: readonly string[], snapshot: boolean) =>
    follow({ ...control, prefixes, snapshot, signal: abort.signal }, sink)
  const running = [run(fleet, FLEET_PREFIXES, true), run(hub, HUB_PREFIXES, false)]
  await fleet.ready
  return {
    fleet,
    hub,
    stop: async () => {
      abort.abort()
      await Promise.all(running)
    },
  }
}
