import { FairwayError } from '../../base/errors.ts'
import type { Machine, MachineState, MachineStatus } from '../../model/resources.ts'
import { MACHINE_STATES } from '../../model/resources.ts'
import type { Actor } from '../context.ts'
import type { MachineControl } from './context.ts'
import type { HubEvent } from './hub.ts'
import { getMachine, type SeenMachine } from './query.ts'
import type { MachineTarget } from './records.ts'
import { isSettled, shownState } from './state.ts'

/** How many requests may wait at once, over all machines. */
export const WAITERS_MAX = 10_000
export const WAIT_TIMEOUT_MAX_MS = 60_000

/** A machine's state, or `settled`: any in which nothing is under way. */
export type WaitedState = MachineState | 'settled'

export interface WaitInput extends MachineTarget {
  readonly states: readonly string[]
  /** Only a machine at this version counts. */
  readonly version?: string | undefined
  readonly timeoutMs: number
  /** The caller has gone. */
  readonly signal: AbortSignal
}

/**
 * Resolves with the machine in one of the states as soon as it is there, 408 when the time is over.
 * A state that the machine was in only briefly counts when it was stored after the call began.
 */
export async function waitMachine(
  control: MachineControl,
  actor: Actor,
  input: WaitInput,
): Promise<SeenMachine> {
  const states = parseStates(input.states)
  if (control.hub.size >= WAITERS_MAX) {
    const message = `${WAITERS_MAX} requests are waiting already; try again later`
    throw new FairwayError('busy', message, { status: 429 })
  }
  // Subscribed before the first look, so that no change falls between the two.
  const changes = new Changes()
  const unsubscribe = control.hub.subscribe(input.machine, (event) => changes.push(event))
  const timer = new AbortController()
  const signal = AbortSignal.any([input.signal, timer.signal])
  const over = control.clock.sleep(input.timeoutMs, signal).catch(() => {})
  const timedOut = over.then(() => 'timeout' as const)
  try {
    let seen = await getMachine(control, actor, input)
    for (;;) {
      if (reached(seen, states, input.version)) return seen
      const event = changes.take()
      if (event) seen = applied(seen, event) ?? (await getMachine(control, actor, input))
      else if ((await Promise.race([changes.more(), timedOut])) === 'timeout')
        throw timeoutError(states, seen)
    }
  } finally {
    unsubscribe()
    timer.abort()
  }
}

function parseStates(states: readonly string[]): WaitedState[] {
  const wanted = states.length > 0 ? states : ['started']
  return wanted.map((state) => {
    if (state === 'settled') return state
    const known = MACHINE_STATES.find((one) => one === state)
    if (known) return known
    const message = `state: "${state}" is no state to wait for; use settled, ${MACHINE_STATES.join(', ')}`
    throw new FairwayError('invalid', message, { status: 400 })
  })
}

function reached(
  { machine, status }: SeenMachine,
  states: readonly WaitedState[],
  version: string | undefined,
): boolean {
  if (version && version !== machine.instanceId) return false
  const state = shownState(machine, status)
  return states.some(
    (wanted) =>
      wanted === state ||
      (wanted === 'settled' && isSettled(state)) ||
      // Whoever suspended it has it stopped.
      (wanted === 'suspended' && state === 'stopped'),
  )
}

/** The machine after a change; undefined when the store must be asked. */
function applied(seen: SeenMachine, event: HubEvent): SeenMachine | undefined {
  if (event === 'missed') return undefined
  if (event.type === 'delete') return event.key.startsWith('machine/') ? seen : undefined
  const { key, value } = event.kv
  if (key.startsWith('status/')) {
    const status = JSON.parse(value) as MachineStatus
    // What was read first may be newer than the first changes that are heard of.
    return status.updatedAt < seen.status.updatedAt ? seen : { ...seen, status }
  }
  const machine = JSON.parse(value) as Machine
  return machine.generation < seen.machine.generation ? seen : { ...seen, machine }
}

const timeoutError = (states: readonly WaitedState[], seen: SeenMachine): FairwayError =>
  new FairwayError(
    'deadline_exceeded',
    `deadline_exceeded: machine failed to reach desired state, ${states.join(' or ')}, currently ${shownState(seen.machine, seen.status)}`,
    { status: 408 },
  )

/** Changes that wait to be looked at. At most CHANGES_MAX: beyond, the store is asked instead. */
class Changes {
  #events: HubEvent[] = []
  #wake: (() => void) | undefined

  push(event: HubEvent): void {
    this.#events = this.#events.length < CHANGES_MAX ? [...this.#events, event] : ['missed']
    this.#wake?.()
  }

  /** The next one; undefined when there is none. */
  take(): HubEvent | undefined {
    return this.#events.shift()
  }

  more(): Promise<'more'> {
    return new Promise((resolve) => {
      const wake = () => resolve('more')
      this.#wake = wake
      if (this.#events.length > 0) wake()
    })
  }
}
const CHANGES_MAX = 64
