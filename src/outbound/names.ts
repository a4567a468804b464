import { Resolver } from 'node:dns'
import {
  ADDRESSES_MAX,
  DNS_NAMES_MAX,
  DNS_NEGATIVE_MS,
  DNS_PENDING_MAX,
  DNS_TIMEOUT_MS,
  DNS_TRIES,
  DNS_TTL_MS_MAX,
  DNS_TTL_MS_MIN,
} from './limits.ts'

export interface Answer {
  readonly family: 4 | 6
  /** Empty: none of this family. */
  readonly addresses: readonly string[]
  /** The name's servers gave no answer; `addresses` is empty for that reason. */
  readonly failed: boolean
}

export type Lookup = (
  host: string,
  family: 4 | 6,
  callback: (error: NodeJS.ErrnoException | null, found: readonly Found[]) => void,
) => void

interface Found {
  readonly address: string
  /** Seconds. */
  readonly ttl: number
}

/** Asks these servers (`address` or `address:port`), and nothing of the machine's own files. */
export function lookupBy(servers: readonly string[]): Lookup {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES })
  resolver.setServers(servers)
  return (host, family, callback) => {
    const done = (error: NodeJS.ErrnoException | null, found: Found[]) =>
      callback(error, error ? [] : found)
    if (family === 4) resolver.resolve4(host, { ttl: true }, done)
    else resolver.resolve6(host, { ttl: true }, done)
  }
}

interface Entry {
  answer: Answer | null
  expiresAt: number
  readonly waiting: ((answer: Answer) => void)[]
}

/**
 * Names to addresses, with a memory: bounded, oldest out first, for as long as the answer says and
 * DNS_TTL_MS_MAX at most. One question per name and family is on its way at a time.
 */
export class Names {
  readonly #lookup: Lookup
  readonly #now: () => number
  readonly #entries = new Map<string, Entry>()
  #pending = 0
  /** Questions asked. */
  asked = 0

  constructor(lookup: Lookup, now: () => number) {
    this.#lookup = lookup
    this.#now = now
  }

  /** Calls back with one family's addresses: before it returns when they are known. */
  ask(host: string, family: 4 | 6, callback: (answer: Answer) => void): void {
    const key = `${family}${host}`
    const known = this.#entries.get(key)
    if (known?.answer && known.expiresAt > this.#now()) callback(known.answer)
    else if (known && !known.answer) known.waiting.push(callback)
    else if (this.#pending >= DNS_PENDING_MAX) callback({ family, addresses: [], failed: true })
    else this.#ask(key, host, family, callback)
  }

  #ask(key: string, host: string, family: 4 | 6, callback: (answer: Answer) => void): void {
    const entry: Entry = { answer: null, expiresAt: 0, waiting: [callback] }
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    this.#pending++
    this.asked++
    this.#lookup(host, family, (error, found) => {
      this.#pending--
      const failed = error !== null && !NO_SUCH.has(error.code ?? '')
      const addresses = found.slice(0, ADDRESSES_MAX).map(({ address }) => address)
      entry.answer = { family, addresses, failed }
      entry.expiresAt = this.#now() + ttlMs(found)
      for (const waiting of entry.waiting.splice(0)) waiting(entry.answer)
      this.#evict()
    })
  }

  #evict(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= DNS_NAMES_MAX) return
      if (entry.answer) this.#entries.delete(key)
    }
  }
}

const NO_SUCH = new Set(['ENOTFOUND', 'ENODATA'])

function ttlMs(found: readonly Found[]): number {
  if (found.length === 0) return DNS_NEGATIVE_MS
  const least = Math.min(...found.map(({ ttl }) => ttl)) * 1_000
  return Math.min(DNS_TTL_MS_MAX, Math.max(DNS_TTL_MS_MIN, least))
}
