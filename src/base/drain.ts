import type { Writable } from 'node:stream'

/** The time-out is waited for in so many steps: a process that is itself held up misses one of them. */
const STEPS = 8

/**
 * Resolves when the writable takes more, closes, or the signal aborts; false when it has taken
 * nothing for `timeoutMs`.
 */
export async function drained(
  writable: Writable,
  signal: AbortSignal,
  timeoutMs: number,
): Promise<boolean> {
  if (signal.aborted || writable.destroyed || !writable.writableNeedDrain) return true
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const yes = () => resolve(true)
  let steps = 0
  const timer = setInterval(() => ++steps === STEPS && resolve(false), timeoutMs / STEPS)
  writable.once('drain', yes).once('close', yes)
  signal.addEventListener('abort', yes, { once: true })
  try {
    return await promise
  } finally {
    clearInterval(timer)
    writable.off('drain', yes).off('close', yes)
    signal.removeEventListener('abort', yes)
  }
}
