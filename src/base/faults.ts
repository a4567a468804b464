const LINE_EVERY_MS = 1_000

/** Reports a fault of ours that was survived. */
export type OnFault = (error: unknown) => void

/** Where nobody watches, a fault ends the process, as any other does. */
export const fatal: OnFault = (error) => {
  throw error
}

/**
 * Writes faults down, one in a second: whoever has found out how to cause them must not fill the disk.
 * Those between are counted in the next line.
 */
export function faultLog(write: (line: string) => void, now: () => number = Date.now): OnFault {
  let lastMs = -Infinity
  let untold = 0
  return (error) => {
    const nowMs = now()
    if (nowMs - lastMs < LINE_EVERY_MS) {
      untold++
      return
    }
    const more = untold > 0 ? ` (and ${untold} since the last line)` : ''
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    write(`fault: a connection was closed${more}: ${text}`)
    lastMs = nowMs
    untold = 0
  }
}
