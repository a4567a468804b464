import { bucketOf, type LoadBucket, type LoadCells } from '../proxy/balance/loads.ts'
import type { CountedMachine } from './edge-load-slots.ts'

/** A service's bucket must have been lower for so long before it is told as lower. */
export const LOAD_FALL_MS = 500
/** Between two things told of one service: at most ten a second, and fewer with the above. */
export const LOAD_TELL_MIN_MS = 100
/** What one host tells of all its services. */
export const LOAD_TELLS_PER_SECOND_MAX = 100
/** Told at once after a quiet time. */
export const LOAD_TELLS_BURST_MAX = 50

export interface LoadTold {
  readonly machine: string
  readonly service: number
  readonly load: LoadBucket
}

interface Known {
  told: LoadBucket
  toldMs: number
  /** Since when it has been lower; 0 when it is not. */
  lowerMs: number
}

/**
 * Which buckets of load (L2) are told to the control plane, whose store writes each of them. More
 * load is told at once, less of it after a while: a service that flaps around a limit counts as at it,
 * and what becomes free meanwhile is found by those who wait.
 */
export class LoadReports {
  readonly #cells: LoadCells
  readonly #known = new Map<number, Known>()
  #tokens = LOAD_TELLS_BURST_MAX
  #filledMs = 0

  constructor(cells: LoadCells) {
    this.#cells = cells
  }

  /**
   * Looks at all counts. Gives what is to be told, and when to look again although nothing changes
   * (Infinity: not at all).
   */
  scan(machines: Iterable<CountedMachine>, nowMs: number): { told: LoadTold[]; againMs: number } {
    this.#cells.clearChanged()
    this.#refill(nowMs)
    const due: (LoadTold & { slot: number })[] = []
    let againMs = Infinity
    for (const { machine, slots, limits } of machines)
      for (const [service, limit] of limits.entries()) {
        const slot = slots[service]!
        if (slot < 0) continue
        const load = bucketOf(this.#cells.count(slot), limit)
        const waitMs = this.#waitMs(slot, load, nowMs)
        if (waitMs === 0) due.push({ machine, service, load, slot })
        else againMs = Math.min(againMs, nowMs + waitMs)
      }
    // Those that are full matter most: others are sent to them in vain.
    due.sort((a, b) => b.load - a.load)
    const told = due.slice(0, Math.floor(this.#tokens))
    this.#tokens -= told.length
    if (told.length < due.length) againMs = Math.min(againMs, nowMs + LOAD_TELL_MIN_MS)
    for (const { slot, load } of told)
      this.#known.set(slot, { told: load, toldMs: nowMs, lowerMs: 0 })
    return { told: told.map(({ slot: _, ...rest }) => rest), againMs }
  }

  /** The machine is gone: what was told of it is taken back. */
  forget({ machine, slots }: CountedMachine): LoadTold[] {
    return slots.flatMap((slot, service) => {
      const told = this.#known.get(slot)?.told ?? 0
      this.#known.delete(slot)
      return told > 0 ? [{ machine, service, load: 0 as const }] : []
    })
  }

  /** Until the bucket may be told; Infinity when it is no news. */
  #waitMs(slot: number, load: LoadBucket, nowMs: number): number {
    const known = this.#known.get(slot)
    if (!known) return load > 0 ? 0 : Infinity
    if (load === known.told) {
      known.lowerMs = 0
      return Infinity
    }
    const restMs = Math.max(0, known.toldMs + LOAD_TELL_MIN_MS - nowMs)
    if (load > known.told) return restMs
    if (known.lowerMs === 0) known.lowerMs = nowMs
    return Math.max(restMs, known.lowerMs + LOAD_FALL_MS - nowMs)
  }

  #refill(nowMs: number): void {
    const added = ((nowMs - this.#filledMs) / 1000) * LOAD_TELLS_PER_SECOND_MAX
    this.#tokens = Math.min(LOAD_TELLS_BURST_MAX, this.#tokens + Math.max(0, added))
    this.#filledMs = nowMs
  }
}
