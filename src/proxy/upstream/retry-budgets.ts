import type { ProxyContext } from '../context.ts'
import { RETRIES_FREE_MAX, RETRY_APPS_MAX, RETRY_SHARE_MAX, RETRY_WINDOW_MS } from '../limits.ts'

/**
 * What of an app's requests may be sent again. Without a bound, a machine that fails everything, or an
 * app that is overloaded, gets a multiple of the load that it failed under.
 */
export class RetryBudget {
  #requests = 0
  #retries = 0
  #sinceMs: number

  constructor(nowMs: number) {
    this.#sinceMs = nowMs
  }

  /** A request has begun. On the path of every one, so it costs an addition and reads no clock. */
  requested(): void {
    this.#requests++
  }

  /** Counts one more retry; false when that is more than the budget. */
  take(nowMs: number): boolean {
    this.#forget(nowMs)
    const budget = Math.max(RETRIES_FREE_MAX, RETRY_SHARE_MAX * this.#requests)
    if (this.#retries + 1 > budget) return false
    this.#retries++
    return true
  }

  /** What is counted fades with the window's length, as if it had been spread over it evenly. */
  #forget(nowMs: number): void {
    const elapsedMs = nowMs - this.#sinceMs
    if (elapsedMs <= RETRY_WINDOW_MS) return
    const kept = RETRY_WINDOW_MS / elapsedMs
    this.#requests *= kept
    this.#retries *= kept
    this.#sinceMs = nowMs - RETRY_WINDOW_MS
  }
}

/** The budgets of one worker, by app. */
export class RetryBudgets {
  readonly #budgets = new Map<string, RetryBudget>()

  of(app: string, nowMs: number): RetryBudget {
    let budget = this.#budgets.get(app)
    if (!budget) {
      // The oldest starts anew when it is next asked for, with its free retries.
      if (this.#budgets.size >= RETRY_APPS_MAX)
        this.#budgets.delete(this.#budgets.keys().next().value!)
      budget = new RetryBudget(nowMs)
      this.#budgets.set(app, budget)
    }
    return budget
  }
}

/** Takes one retry, or says in the app's log that there are none left. */
export function mayRetry(ctx: ProxyContext, budget: RetryBudget, app: string): boolean {
  if (budget.take(ctx.deadlines.now)) return true
  ctx.counters.limit('retry_budget')
  ctx.appLog.write({ app, machine: '', level: 'warn', code: '', message: SPENT })
  return false
}
const SPENT = `more than ${RETRY_SHARE_MAX * 100} % of the requests fail at first: not all of them are sent again`
