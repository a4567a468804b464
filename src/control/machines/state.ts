import type { Machine, MachineState, MachineStatus } from '../../model/resources.ts'

/** Nothing is under way in these; `wait?state=settled` ends in them. */
const SETTLED: ReadonlySet<MachineState> = new Set([
  'created',
  'started',
  'stopped',
  'suspended',
  'destroyed',
  'failed',
])

export const isSettled = (state: MachineState): boolean => SETTLED.has(state)

type Asked = Pick<Machine, 'desired' | 'generation' | 'action' | 'instanceId'>
type Seen = Pick<MachineStatus, 'generation' | 'state' | 'instanceId'>

/**
 * The state that people see: the host's word, unless it was asked for something that it has not done
 * yet; then what is being done.
 */
export function shownState(asked: Asked, seen: Seen): MachineState {
  if (seen.generation >= asked.generation || seen.state === 'destroyed') return seen.state
  if (asked.desired === 'destroyed') return 'destroying'
  const launchedBefore = seen.generation > 0 || seen.state !== 'created'
  if (asked.instanceId !== seen.instanceId && launchedBefore) return 'replacing'
  if (asked.desired === 'created') return 'created'
  if (asked.desired === 'stopped') return 'stopping'
  if (asked.action?.restart) return 'restarting'
  // A signal does not change what the machine should be; only the host can say what became of it.
  return asked.action?.signal ? seen.state : 'starting'
}
