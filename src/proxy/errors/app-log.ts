import type { Counters } from '../counters.ts'
import { APP_LOG_LINES_PER_SECOND_MAX, APP_LOG_REPEAT_MS } from '../limits.ts'

/** A line for an app's own log: what its owner should know about how the edge treats its traffic. */
export interface AppLogLine {
  readonly app: string
  /** '' when no machine is concerned. */
  readonly machine: string
  readonly level: 'info' | 'warn' | 'error'
  /** L14, or ''. */
  readonly code: string
  readonly message: string
}

export type OnAppLog = (line: AppLogLine) => void

/**
 * Bounds what one app's trouble costs. A line that repeats is said the 1st, 10th, 100th ... time
 * (L12), and an app has so many different ones a second, the rest as a count.
 */
export class AppLog {
  readonly #emit: OnAppLog
  readonly #now: () => number
  readonly #counters: Counters
  readonly #windows = new Map<string, { until: number; lines: number; dropped: number }>()
  readonly #repeats = new Map<string, { since: number; count: number }>()
  readonly #said = new Set<string>()

  constructor(emit: OnAppLog, now: () => number, counters: Counters) {
    this.#emit = emit
    this.#now = now
    this.#counters = counters
  }

  write(line: AppLogLine): void {
    const now = this.#now()
    const key = `${line.app} ${line.machine} ${line.code} ${line.message}`
    let repeat = this.#repeats.get(key)
    if (!repeat || now - repeat.since >= APP_LOG_REPEAT_MS) {
      if (this.#repeats.size >= KEPT_MAX) this.#repeats.clear()
      repeat = { since: now, count: 0 }
      this.#repeats.set(key, repeat)
    }
    const { count } = repeat
    repeat.count++
    if (count === 0) this.#writeBounded(line, now)
    else if (isPowerOfTen(repeat.count)) {
      const seconds = Math.ceil((now - repeat.since) / 1000)
      const message = `${line.message} (${repeat.count} times in ${seconds} s)`
      this.#writeBounded({ ...line, message }, now)
    }
  }

  /** Says it for this app once in the life of the process. */
  once(line: AppLogLine): void {
    const key = `${line.app} ${line.message}`
    if (this.#said.has(key) || this.#said.size >= KEPT_MAX) return
    this.#said.add(key)
    this.write(line)
  }

  #writeBounded(line: AppLogLine, now: number): void {
    let window = this.#windows.get(line.app)
    if (!window || window.until <= now) {
      if (window && window.dropped > 0)
        this.#emit({ ...line, code: '', message: `${window.dropped} more lines like these` })
      if (this.#windows.size >= KEPT_MAX) this.#windows.clear()
      window = { until: now + 1000, lines: 0, dropped: 0 }
      this.#windows.set(line.app, window)
    }
    if (++window.lines <= APP_LOG_LINES_PER_SECOND_MAX) this.#emit(line)
    else {
      window.dropped++
      this.#counters.limit('app_log_lines')
    }
  }
}

/** Apps, or lines, that are remembered. */
const KEPT_MAX = 10_000

function isPowerOfTen(n: number): boolean {
  for (; n >= 10; n /= 10) if (n % 10 !== 0) return false
  return n === 1
}
