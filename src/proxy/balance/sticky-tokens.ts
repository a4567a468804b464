import { createHash } from 'node:crypto'
import type { PortRoute } from '../../view/edge-view.ts'
import { STICKY_TOKENS_MAX } from '../limits.ts'

/**
 * What a cookie of the edge says of a machine: every edge makes the same of it without having been told,
 * it stays the same when edges are replaced, and it does not show the id. It is no secret: a client may
 * name its machine in a header just as well (R29).
 */
export class StickyTokens {
  readonly #tokens = new Map<string, string>()

  of(machine: string): string {
    let token = this.#tokens.get(machine)
    if (token === undefined) {
      if (this.#tokens.size >= STICKY_TOKENS_MAX) this.#tokens.clear()
      token = createHash('sha256').update(`sticky ${machine}`).digest('base64url').slice(0, LENGTH)
      this.#tokens.set(machine, token)
    }
    return token
  }

  /** The machine of the route that the token is of; '' when it is gone, or was never there. */
  find(route: PortRoute, token: string): string {
    if (token.length !== LENGTH) return ''
    for (const { endpoint } of route.candidates)
      if (this.of(endpoint.machine) === token) return endpoint.machine
    return ''
  }
}

/** 96 bits. */
const LENGTH = 16
