import type { Counters } from '../counters.ts'
import { APP_LOG_LINES_PER_SECOND_MAX } from '../limits.ts'

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

/** Bounds what one app's trouble costs: at most so many lines a second, the rest as a count. */
export class AppLog {
  readonly #emit: OnAppLog
  readonly #now: () => number
  readonly #counters: Counters
  readonly #windows = new Map<string, { until: number; lines: number; dropped: number }>()
  readonly #said = new Set<string>()

  constructor(emit: OnAppLog, now: () => number, counters: Counters) {
    this.#emit = emit
    this.#now = now
    this.#counters = counters
  }

  write(line: AppLogLine): void {
    const now = this.#now()
    let window = this.#windows.get(line.app)
    if (!window || window.until <= now) {
      if (window && window.dropped > 0)
        this.#emit({ ...line, code: '', message: `${window.dropped} more lines like these` })
      if (this.#windows.size >= APPS_MAX) this.#windows.clear()
      window = { until: now + 1000, lines: 0, dropped: 0 }
      this.#windows.set(line.app, window)
    }
    if (++window.lines <= APP_LOG_LINES_PER_SECOND_MAX) this.#emit(line)
    else {
      window.dropped++
      this.#counters.limit('app_log_lines')
    }
  }

  /** Says it for this app once in the life of the process. */
  once(line: AppLogLine): void {
    const key = `${line.app} ${line.message}`
    if (this.#said.has(key) || this.#said.size >= APPS_MAX) return
    this.#said.add(key)
    this.write(line)
  }
}
const APPS_MAX = 10_000
