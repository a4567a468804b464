import { formatPrefix, parsePrefix } from '../../base/ip.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { ProxyContext } from '../context.ts'
import type { RateKey } from './rate-table.ts'

/** One client connection's way through the rates of a service (`rate_limit`). */
export class RateLimiter {
  readonly #ctx: ProxyContext
  readonly #route: PortRoute
  readonly #source: RateKey
  readonly #service: RateKey

  private constructor(ctx: ProxyContext, route: PortRoute, address: string) {
    this.#ctx = ctx
    this.#route = route
    const service = `${route.app} ${route.internalPort}`
    this.#source = ctx.rates.keyOf(`${service} ${sourceOf(address)}`)
    this.#service = ctx.rates.keyOf(service)
  }

  /** Null when the service has no limits, as most have not. */
  static of(ctx: ProxyContext, route: PortRoute, address: string): RateLimiter | null {
    return route.options?.rateLimit ? new RateLimiter(ctx, route, address) : null
  }

  /** Takes one request, or connection; gives 0, or after how many milliseconds to come again. */
  take(): number {
    const { perSource, perService } = this.#route.options!.rateLimit!
    const { rates, counters } = this.#ctx
    // A source over its limit takes nothing from the others.
    const sourceMs = perSource === null ? 0 : rates.take(this.#source, perSource)
    if (sourceMs > 0) {
      counters.limit('rate_per_source')
      return sourceMs
    }
    const serviceMs = perService === null ? 0 : rates.take(this.#service, perService)
    if (serviceMs > 0) counters.limit('rate_per_service')
    return serviceMs
  }
}

/** Whoever has an IPv6 address has all of its /64. */
function sourceOf(address: string): string {
  const network = address.includes(':') ? parsePrefix(`${address}/64`) : undefined
  return network ? formatPrefix(network) : address
}
