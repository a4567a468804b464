import type { Counters } from '../counters.ts'
import * as limits from '../limits.ts'
import type { Probe, RefusalReason, Released } from './balancer.ts'
import type { LoadTable } from './loads.ts'

/** What a waiting request does when it is its turn. */
export type Turn =
  /** It got a slot on this host, or needs none any more. */
  | 'served'
  /** It went to another host, which may refuse it. */
  | 'sent'
  | 'waits'

/** A request (or a connection) that waits for a slot (L6). */
export interface Waiter {
  /** Its place in line, given when it joins first and kept from then on; 0 before. */
  ticket: number
  /** In the time of `Deadlines.now`. */
  readonly waitsUntil: number
  /** Tries to claim a slot. It is out of the queue meanwhile, and back in it for 'waits'. */
  onTurn(probe: Probe | null): Turn
  onWaitedTooLong(): void
}

export interface WaitQueuesOptions {
  readonly counters: Counters
  readonly now: () => number
  readonly random: () => number
  readonly loads: LoadTable
  /** Slots were released here, and requests wait in other workers. */
  readonly onReleased?: (app: string) => void
}

/** How long a request may wait after it was refused for this reason; 0: not at all. */
export function waitMs(refused: RefusalReason, last: WaitReason | null): number {
  if (refused === 'hard-limit' || (refused === 'none' && last === 'full')) return limits.QUEUE_MS
  if (refused === 'starting') return limits.START_WAIT_MS
  // It may be restarting, and the view does not know yet.
  return refused === 'down' || last === 'unreached' ? limits.RECONNECT_WAIT_MS : 0
}

/** What became of the last attempt: its host said that it is full, or nothing reached the app. */
export type WaitReason = 'full' | 'unreached'

interface Queue {
  readonly app: string
  readonly key: string
  /** Any of the app's machines will do for those in it. */
  readonly common: boolean
  /** By their tickets: one that was refused elsewhere comes back to its place. */
  readonly waiters: Waiter[]
  timer: NodeJS.Timeout | null
}

/**
 * Requests that wait because every machine that could serve them is at its hard limit: a queue for
 * each port of an app, first come, first served within a worker. A slot that is given back wakes the
 * queue at once; what becomes free on other hosts shows in the view, or to a try now and then.
 */
export class WaitQueues {
  readonly #options: WaitQueuesOptions
  readonly #queues = new Map<string, Queue>()
  readonly #perApp = new Map<string, number>()
  /** Apps whose queues get their turn when the present callback is over, and where to probe. */
  readonly #awake = new Map<string, Probe[]>()
  #size = 0
  #tickets = 0

  constructor(options: WaitQueuesOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#size
  }

  /** Whether somebody waits for this port, so that a newcomer must not overtake. */
  has(app: string, port: number, lane = ''): boolean {
    return this.#size > 0 && this.#queues.has(keyOf(app, port, lane))
  }

  /** False when too many wait already. `lane`: see Steering. */
  join(app: string, port: number, waiter: Waiter, lane = ''): boolean {
    const ofApp = this.#perApp.get(app) ?? 0
    if (this.#size >= limits.QUEUED_MAX || ofApp >= limits.QUEUED_PER_APP_MAX) return false
    const key = keyOf(app, port, lane)
    let queue = this.#queues.get(key)
    if (!queue) {
      queue = { app, key, common: lane === '', waiters: [], timer: null }
      this.#queues.set(key, queue)
    }
    if (waiter.ticket === 0) waiter.ticket = ++this.#tickets
    let at = queue.waiters.length
    while (at > 0 && queue.waiters[at - 1]!.ticket > waiter.ticket) at--
    queue.waiters.splice(at, 0, waiter)
    this.#count(app, 1)
    this.#arm(queue)
    return true
  }

  leave(app: string, port: number, waiter: Waiter, lane = ''): void {
    const queue = this.#queues.get(keyOf(app, port, lane))
    if (queue) this.#remove(queue, waiter)
  }

  /**
   * Something of the app has changed: its queues get their turn soon. `probe`: one of them may try
   * there although that machine was full when its host last said so.
   */
  wake(app: string, probe?: Probe): void {
    if (!this.#perApp.has(app)) return
    if (this.#awake.size === 0) queueMicrotask(() => this.#runAwake())
    const probes = this.#awake.get(app) ?? []
    this.#awake.set(app, probes)
    if (probe) probes.push(probe)
  }

  /**
   * A slot of the app was given back. When others wait too, the next one is theirs as often as their
   * share of those who wait: a worker that always took back its own would starve them.
   */
  released(app: string, machine: string, released: Released): void {
    if (released !== 'of-full') {
      // What one of ours gave back there is free until somebody takes it.
      if (this.#size > 0) this.wake(app, released === 'elsewhere' ? { machine } : undefined)
      return
    }
    const { loads, random, onReleased } = this.#options
    const elsewhere = onReleased ? loads.cells.waitingElsewhere(loads.worker) : 0
    if (elsewhere === 0) {
      this.wake(app)
      return
    }
    onReleased!(app)
    if (random() * (elsewhere + this.#size) >= elsewhere) this.wake(app)
    else if (this.#perApp.has(app)) setTimeout(() => this.wake(app), limits.QUEUE_HANDOFF_MS)
  }

  // Private

  #runAwake(): void {
    const apps = [...this.#awake]
    this.#awake.clear()
    for (const [app, probes] of apps)
      for (const queue of [...this.#queues.values()])
        if (queue.app === app) this.#turn(queue, probes)
  }

  #onStep(queue: Queue): void {
    queue.timer = null
    const now = this.#options.now()
    for (const waiter of queue.waiters.filter(({ waitsUntil }) => waitsUntil <= now)) {
      if (!this.#remove(queue, waiter)) continue
      this.#options.counters.limit('queue_ms')
      waiter.onWaitedTooLong()
    }
    this.#probeAny(queue)
    this.#turn(queue, [])
    if (this.#queues.get(queue.key) === queue) this.#arm(queue)
  }

  /**
   * Mostly in vain. So it is for the last to try: the first would miss what is given back meanwhile.
   */
  #probeAny(queue: Queue): void {
    const last = queue.waiters.at(-1)
    if (!last) return
    this.#remove(queue, last)
    last.onTurn('any')
  }

  /** Lets them try in their order, until one has to go on waiting: those behind it would too. */
  #turn(queue: Queue, probes: Probe[]): void {
    let away = 0
    for (let first = queue.waiters[0]; first; first = queue.waiters[0]) {
      this.#remove(queue, first)
      // Others could not use it.
      const turn = first.onTurn((queue.common && probes.shift()) || null)
      if (turn === 'waits') return
      if (turn === 'sent' && ++away >= limits.QUEUE_SENT_PER_TURN_MAX) return
    }
  }

  #remove(queue: Queue, waiter: Waiter): boolean {
    const at = queue.waiters.indexOf(waiter)
    if (at < 0) return false
    queue.waiters.splice(at, 1)
    this.#count(queue.app, -1)
    if (queue.waiters.length > 0) return true
    if (queue.timer) clearTimeout(queue.timer)
    queue.timer = null
    this.#queues.delete(queue.key)
    return true
  }

  #count(app: string, delta: 1 | -1): void {
    const { counters, loads } = this.#options
    this.#size += delta
    counters.queued = this.#size
    loads.cells.addWaiting(loads.worker, delta)
    const ofApp = (this.#perApp.get(app) ?? 0) + delta
    if (ofApp > 0) this.#perApp.set(app, ofApp)
    else this.#perApp.delete(app)
  }

  /** Jittered, so that edges that wait for the same machine do not ask all at once. */
  #arm(queue: Queue): void {
    if (queue.timer || queue.waiters.length === 0) return
    const stepMs = limits.QUEUE_STEP_MS * (0.5 + this.#options.random())
    queue.timer = setTimeout(() => this.#onStep(queue), stepMs).unref()
  }
}

const keyOf = (app: string, port: number, lane: string): string =>
  lane === '' ? `${app}:${port}` : `${app}:${port} ${lane}`
