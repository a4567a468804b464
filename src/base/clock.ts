import { setTimeout as delay } from 'node:timers/promises'

/** Time as an argument, so that tests decide what it is. Milliseconds since the epoch. */
export interface Clock {
  now(): number
  /** Resolves after `ms`; rejects with AbortError when the signal fires first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
}

export const isoTime = (ms: number): string => new Date(ms).toISOString()

/** Exponential back-off with full jitter between half and one and a half of the step. */
export const backoffMs = (
  attempt: number,
  random: () => number,
  { firstMs = 100, maxMs = 5_000 } = {},
): number => Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 20)) * (0.5 + random() / 2)
