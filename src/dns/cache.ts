import type { Clock } from '../base/clock.ts'
import { encode } from './codec.ts'
import { type Message, negativeTtl, RCODE, type Record } from './records.ts'

const ENTRIES_MAX = 4_096
/** With ENTRIES_MAX, the bound of its memory: some 16 MB of wire data. */
const ENTRY_BYTES_MAX = 4_096
/** Seconds. Nobody should have to wait for us when a name moves. */
const TTL_MAX_S = 3_600
const NEGATIVE_TTL_MAX_S = 300

interface Entry {
  readonly message: Message
  readonly storedMs: number
  readonly ttlS: number
}

/** Answers of resolvers, as long as they say that they may be kept; the least used go first. */
export class AnswerCache {
  readonly #clock: Pick<Clock, 'now'>
  readonly #entriesMax: number
  /** In order of use. */
  readonly #entries = new Map<string, Entry>()

  constructor(clock: Pick<Clock, 'now'>, entriesMax = ENTRIES_MAX) {
    this.#clock = clock
    this.#entriesMax = entriesMax
  }

  get size(): number {
    return this.#entries.size
  }

  /** With the time that has passed taken off its TTLs. */
  get(key: string): Message | undefined {
    const entry = this.#entries.get(key)
    if (!entry) return undefined
    this.#entries.delete(key)
    const ageS = Math.floor((this.#clock.now() - entry.storedMs) / 1_000)
    if (ageS < 0 || ageS >= entry.ttlS) return undefined
    this.#entries.set(key, entry)
    const age = (records: readonly Record[]) =>
      records.map((r) => ({ ...r, ttl: Math.max(0, Math.min(r.ttl, entry.ttlS) - ageS) }))
    const { message } = entry
    return {
      ...message,
      answers: age(message.answers),
      authorities: age(message.authorities),
      additionals: age(message.additionals),
    }
  }

  put(key: string, message: Message): void {
    const ttlS = cacheTtl(message)
    if (ttlS <= 0 || encode(message).length > ENTRY_BYTES_MAX) return
    this.#entries.delete(key)
    this.#entries.set(key, { message, storedMs: this.#clock.now(), ttlS })
    if (this.#entries.size > this.#entriesMax)
      this.#entries.delete(this.#entries.keys().next().value!)
  }
}

/** Seconds; 0 for what must not be kept. */
export function cacheTtl({ rcode, answers, authorities, truncated }: Message): number {
  if (truncated || (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN)) return 0
  if (answers.length > 0 && rcode === RCODE.NOERROR)
    return Math.min(TTL_MAX_S, ...answers.map((r) => r.ttl))
  // RFC 2308 section 5: without an SOA, absence is not remembered.
  const bounds = authorities.flatMap((r) => negativeTtl(r) ?? [])
  return bounds.length === 0
    ? 0
    : Math.min(NEGATIVE_TTL_MAX_S, ...bounds, ...answers.map((r) => r.ttl))
}
