import { formatPrefix, parsePrefix } from '../base/ip.ts'
import { type Message, respond } from './records.ts'
import type { DnsHandler } from './server.ts'

/** Against forged senders: answers go to whom they name, and must not come in floods. */

export interface RateLimits {
  readonly perSecond: number
  readonly atOnce: number
  /** Networks that are counted; beyond, the oldest are forgotten. */
  readonly networksMax: number
}
export const RATE_LIMITS: RateLimits = { perSecond: 20, atOnce: 40, networksMax: 16_384 }
/** Of a network's addresses a forger has all: an IPv4 /24, an IPv6 /56. */
const LENGTH = { 4: 24, 6: 56 } as const

interface Bucket {
  tokens: number
  atMs: number
}

export class ClientRates {
  readonly #limits: RateLimits
  readonly #now: () => number
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>()

  constructor(now: () => number, limits: Partial<RateLimits> = {}) {
    this.#now = now
    this.#limits = { ...RATE_LIMITS, ...limits }
  }

  get size(): number {
    return this.#buckets.size
  }

  /** Whether one more answer may go to that address's network. */
  allows(address: string): boolean {
    const { perSecond, atOnce, networksMax } = this.#limits
    const network = networkOf(address)
    const now = this.#now()
    const bucket = this.#buckets.get(network) ?? { tokens: atOnce, atMs: now }
    const refill = (Math.max(0, now - bucket.atMs) / 1_000) * perSecond
    bucket.tokens = Math.min(atOnce, bucket.tokens + refill)
    bucket.atMs = now
    this.#buckets.delete(network)
    this.#buckets.set(network, bucket)
    if (this.#buckets.size > networksMax) this.#buckets.delete(this.#buckets.keys().next().value!)
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }
}

function networkOf(address: string): string {
  const prefix = parsePrefix(`${address}/${address.includes(':') ? LENGTH[6] : LENGTH[4]}`)
  return prefix ? formatPrefix(prefix) : ''
}

/**
 * Beyond the rate, every other question by UDP is answered by "come back by TCP", which nobody can
 * whose address was forged, and the rest by silence.
 */
export function limitedHandler(handler: DnsHandler, rates: ClientRates): DnsHandler {
  let turn = 0
  return (query, client): ReturnType<DnsHandler> => {
    if (client.protocol === 'tcp' || rates.allows(client.address)) return handler(query, client)
    turn += 1
    return turn % 2 === 0 ? undefined : comeByTcp(query)
  }
}

const comeByTcp = (query: Message): Message => respond(query, { truncated: true })
