import type { Clock } from '../base/clock.ts'

/** Clients and what stands between take a stream that is silent for minutes for dead. */
export const KEEP_ALIVE_MS = 15_000

/**
 * Lines of an NDJSON answer with an empty one first, which tells the reader that it is connected, and
 * one whenever nothing was said for KEEP_ALIVE_MS.
 */
export async function* keptAlive(
  lines: AsyncIterable<string>,
  clock: Clock,
): AsyncGenerator<string> {
  yield '\n'
  const iterator = lines[Symbol.asyncIterator]()
  try {
    let next = iterator.next()
    for (;;) {
      const timer = new AbortController()
      const quiet = clock.sleep(KEEP_ALIVE_MS, timer.signal).then(
        () => 'quiet' as const,
        () => 'quiet' as const,
      )
      const one = await Promise.race([next, quiet])
      timer.abort()
      if (one === 'quiet') {
        yield '\n'
        continue
      }
      if (one.done) return
      yield one.value
      next = iterator.next()
    }
  } finally {
    await iterator.return?.()
  }
}
