/** How many requests that change machines are under way at once. */
const PARALLEL_MAX = 16

/** All of them to their end, some at a time; then the first error is thrown, if there was one. */
export async function inParallel<T>(
  items: readonly T[],
  work: (item: T) => Promise<void>,
): Promise<void> {
  for (let i = 0; i < items.length; i += PARALLEL_MAX) {
    const done = await Promise.allSettled(items.slice(i, i + PARALLEL_MAX).map(work))
    for (const one of done) if (one.status === 'rejected') throw one.reason
  }
}
