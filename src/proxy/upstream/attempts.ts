import { AT_LIMIT, isHostRefusal, TIMED_OUT } from '../backhaul/preface.ts'
import type { Lease, RefusalReason } from '../balance/balancer.ts'
import { type WaitReason, waitMs } from '../balance/wait-queues.ts'
import type { Counters } from '../counters.ts'
import { ALL_FULL, NO_ANSWER, NONE_SERVES, TOO_MANY_WAIT, textOf } from '../errors/codes.ts'
import * as limits from '../limits.ts'
import type { UpstreamFailure } from './exchange.ts'

/** What a request that nobody answered is answered by the edge. */
export interface FinalAnswer {
  readonly status: 502 | 503 | 504
  readonly code: string
  readonly message: string
  /** The app's log does not have it yet. */
  readonly log: boolean
}

/** What has been tried for one request or stream, and what may be tried still. */
export class Attempts {
  /** Machines not to be asked again; null when there are none. */
  excluded: Set<string> | null = null
  last: UpstreamFailure | null = null
  /** The one that `last` is about. */
  machine = ''
  #count = 0
  /** Attempts after which an app may have acted on the request. */
  #repeats = 0
  #beganAt = 0
  /** Of the excluded those that were full: the wait is for them. */
  #full: string[] | null = null
  /** More than one machine has failed. */
  #several = false
  /** The last one had the request, and it may be sent again. */
  #mayAgain = false

  begin(now: number): void {
    this.excluded = null
    this.last = null
    this.machine = ''
    this.#count = 0
    this.#repeats = 0
    this.#beganAt = now
    this.#full = null
    this.#several = false
    this.#mayAgain = false
  }

  /** Whether none has failed yet. */
  get isFirst(): boolean {
    return this.last === null
  }

  /** Notes what became of a lease. `exclude`: the next attempt is another machine's. */
  failed(failure: UpstreamFailure, lease: Lease, exclude: boolean): void {
    const { machine } = lease.candidate.endpoint
    this.#count++
    this.last = failure
    this.#several ||= this.machine !== '' && this.machine !== machine
    this.machine = machine
    if (!exclude) return
    this.excluded ??= new Set()
    this.excluded.add(machine)
    if (failure.code === AT_LIMIT) {
      // Not counted: bounded by the time in the queue, and by its pace.
      this.#count--
      this.#full ??= []
      this.#full.push(machine)
      lease.failed('full')
    } else if (isHostRefusal(failure.code)) lease.failed('refused')
    else if (failure.code === 'PU03')
      // One that breaks off is there, and whatever made it do so may have been the request.
      lease.failed(failure.stage === 'unsent' ? 'host-unreached' : 'refused')
    else if (waitReasonOf(failure) === 'unreached') lease.failed('unreached')
    else lease.failed('broke')
  }

  /** `harmless`: whoever has acted on it may do so again (RFC 9110 9.2.2), and all of it is here. */
  mayRetry(failure: UpstreamFailure, harmless: boolean, now: number, counters: Counters): boolean {
    if (this.#count >= limits.ATTEMPTS_MAX) {
      counters.limit('attempts')
      return false
    }
    if (now - this.#beganAt > limits.ATTEMPTS_MS || failure.code === TIMED_OUT) return false
    // Another host that broke off had sent it to the machine already: the same as if we had.
    const wasSent =
      failure.stage === 'sent' || (failure.stage === 'refused' && failure.code === 'PU02')
    this.#mayAgain = wasSent && harmless && ++this.#repeats <= limits.REPEATS_MAX
    return wasSent ? this.#mayAgain : failure.stage !== 'timeout'
  }

  /**
   * Whether the next attempt counts as a retry: not when the last one was only told to go elsewhere,
   * and not when its connection turned out to be closed.
   */
  get isRetry(): boolean {
    return this.last !== null && !this.last.reused && !isHostRefusal(this.last.code)
  }

  /** Until when it may wait after this refusal, in the time of `begin`. */
  waitsUntil(reason: RefusalReason): number {
    if (this.#count >= limits.ATTEMPTS_MAX) return 0
    return this.#beganAt + waitMs(reason, this.#waitReason())
  }

  /** It waits: those that it waits for may be asked again. */
  waits(reason: RefusalReason): void {
    // Where others are only full, no need to go back to one that could not be reached.
    if (this.#waitReason() === 'unreached' && reason !== 'hard-limit') this.excluded = null
    else if (this.#full) for (const machine of this.#full) this.excluded?.delete(machine)
    this.#full = null
  }

  /**
   * Nobody can take it, and it does not wait any more. `crowded`: too many do. `reason` is null when
   * the last failure was the end of it.
   */
  finalAnswer(reason: RefusalReason | null, crowded: boolean): FinalAnswer {
    const { last } = this
    if (last && last.code !== AT_LIMIT) return this.#answerTo(last)
    const atLimit = reason === 'hard-limit' || last !== null
    const why = crowded ? TOO_MANY_WAIT : atLimit ? ALL_FULL : NONE_SERVES
    return { status: 503, code: 'PR04', message: textOf('PR04', why), log: true }
  }

  #waitReason(): WaitReason | null {
    if (!this.last) return null
    // It broke off and may be asked again: it may be restarting, as if it had not been reached.
    return this.#mayAgain ? 'unreached' : waitReasonOf(this.last)
  }

  #answerTo({ code, reason, reused }: UpstreamFailure): FinalAnswer {
    if (code === TIMED_OUT) return { status: 504, code: 'PU02', message: NO_ANSWER, log: false }
    const nobody = isHostRefusal(code)
    if (nobody || (this.#several && code !== 'PU02')) {
      const message = textOf('PR03', `last: ${textOf(code, reason)} (${code})`)
      return { status: nobody ? 503 : 502, code: 'PR03', message, log: true }
    }
    // Those on fresh connections were logged when they failed.
    return { status: 502, code, message: textOf(code, reason), log: reused }
  }
}

function waitReasonOf({ code, stage }: UpstreamFailure): WaitReason | null {
  if (code === AT_LIMIT) return 'full'
  // Another host knew better than our view, or could not reach the machine either.
  const unsentThere = stage === 'refused' && (isHostRefusal(code) || code.startsWith('PC'))
  return stage === 'unsent' || unsentThere ? 'unreached' : null
}
