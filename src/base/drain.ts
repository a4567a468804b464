import type { Writable } from 'node:stream'

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
  const timer = setTimeout(() => resolve(false), timeoutMs)
  writable.once('drain', yes).once('close', yes)
  signal.addEventListener('abort', yes, { once: true })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    writable.off('drain', yes).off('close', yes)
    signal.removeEventListener('abort', yes)
  }
}
