/** Lets so many tasks run at one time; the others wait in order of arrival. */
export function createSlots(slotsMax: number): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let active = 0
  return async (task) => {
    if (active < slotsMax) active += 1
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = waiting.shift()
      if (next)
        next() // The place is handed on, and stays counted.
      else active -= 1
    }
  }
}
