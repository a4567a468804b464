import { hash, timingSafeEqual } from 'node:crypto'
import type { AppRoutes, EdgeView } from '../../view/edge-view.ts'
import type { Counters } from '../counters.ts'
import { EXPLAIN_TOKEN_CHARS_MAX, EXPLAIN_TOKENS_TRIED_PER_SECOND_MAX } from '../limits.ts'

/**
 * Who may have a request explained: whoever shows a token whose hash the view has for the app. The
 * control plane gives one out to those who may act in the app's org, for a few minutes.
 */
export class ExplainGrants {
  readonly #view: EdgeView
  readonly #counters: Counters
  /** Milliseconds since the epoch. */
  readonly #now: () => number
  #until = -Infinity
  #tried = 0

  constructor(view: EdgeView, counters: Counters, now: () => number) {
    this.#view = view
    this.#counters = counters
    this.#now = now
  }

  admits(token: string, app: AppRoutes): boolean {
    const now = this.#now()
    const grants = this.#view.explainGrants(app.name)
    if (grants.length === 0 || token.length > EXPLAIN_TOKEN_CHARS_MAX) return false
    // Hashing is work that a stranger could ask for.
    if (now >= this.#until) {
      this.#until = now + 1_000
      this.#tried = 0
    }
    if (++this.#tried > EXPLAIN_TOKENS_TRIED_PER_SECOND_MAX) {
      this.#counters.limit('explain_tokens')
      return false
    }
    const shown = hash('sha256', token, 'buffer')
    let isAdmitted = false
    for (const grant of grants) {
      const isSame = timingSafeEqual(shown, Buffer.from(grant.hash, 'hex'))
      if (isSame && grant.org === app.org && grant.expiresAtMs > now) isAdmitted = true
    }
    return isAdmitted
  }
}
