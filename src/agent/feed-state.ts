import { encodeLine } from '../base/ndjson.ts'
import { PUBLIC_PREFIXES } from '../model/keys.ts'
import { FEED_PING_MS, type FeedEvent, type FeedLine } from '../model/wire.ts'

/** What a line changed: everything, or some keys. */
export type StateChange =
  | { readonly reset: true }
  | { readonly reset: false; readonly keys: readonly string[] }

const NOTHING: StateChange = { reset: false, keys: [] }

/** Recent lines that are kept for followers; one that is further behind gets a snapshot. */
export const RECENT_LINES_MAX = 4_096
export const RECENT_CHARS_MAX = 16 * 1024 * 1024
const SNAPSHOT_LINE_CHARS = 256 * 1024

interface RecentLine {
  readonly revision: number
  readonly text: string
}

/**
 * The newest complete state that the host has, in memory, and the last lines that led to it. It
 * feeds the host's edges their part of it (the public keys) without a look at the disk.
 */
export class FeedState {
  /** Key -> text of its `put` event. Replaced, not cleared, by a snapshot. */
  #entries = new Map<string, string>()
  #staged: Map<string, string> | undefined
  #revision = 0
  /** Counts snapshots: followers begin again when it moves. */
  #generation = 0
  #recent: RecentLine[] = []
  #recentChars = 0
  /** Sequence number of the first of `#recent`, and the revision before it. */
  #first = 0
  #floor = 0
  readonly #wakes = new Set<() => void>()
  readonly #pingMs: number
  readonly #recentMax: number

  constructor({ pingMs = FEED_PING_MS, recentMax = RECENT_LINES_MAX } = {}) {
    this.#pingMs = pingMs
    this.#recentMax = recentMax
  }

  /** Revision of the state; 0 while there is none. */
  get revision(): number {
    return this.#revision
  }

  /** False while there is no state at all, not even an old one. */
  get isLoaded(): boolean {
    return this.#generation > 0
  }

  /** The value at a key, parsed anew. */
  get(key: string): unknown {
    const text = this.#entries.get(key)
    return text === undefined ? undefined : (JSON.parse(text) as FeedEvent)[2]
  }

  /** A text that is equal for equal versions of the key; undefined when it is not there. */
  text(key: string): string | undefined {
    return this.#entries.get(key)
  }

  keys(): IterableIterator<string> {
    return this.#entries.keys()
  }

  /** The state as the lines of a snapshot; nothing while there is none. */
  *lines(): Generator<FeedLine> {
    if (!this.isLoaded) return
    yield { t: 'snapshot' }
    for (const text of this.#entries.values())
      yield { t: 'events', revision: this.#revision, events: [JSON.parse(text) as FeedEvent] }
    yield { t: 'synced', revision: this.#revision }
  }

  apply(line: FeedLine): StateChange {
    if (line.t === 'snapshot') this.#staged = new Map()
    else if (line.t === 'synced') return this.#synced(line.revision)
    else if (line.t === 'events') {
      if (!this.#staged) return this.#change(line)
      for (const event of line.events) assign(this.#staged, event)
    }
    return NOTHING
  }

  #synced(revision: number): StateChange {
    if (!this.#staged) return NOTHING
    this.#entries = this.#staged
    this.#staged = undefined
    this.#revision = revision
    this.#generation += 1
    this.#first += this.#recent.length
    this.#floor = revision
    this.#recent = []
    this.#recentChars = 0
    this.#wakeAll()
    return { reset: true }
  }

  #change(line: FeedLine & { t: 'events' }): StateChange {
    for (const event of line.events) assign(this.#entries, event)
    this.#revision = line.revision
    // A line without public events is passed on too: it moves the revision that edges confirm.
    const text = encodeLine({ ...line, events: line.events.filter((e) => isPublic(e[1])) })
    this.#recent.push({ revision: line.revision, text })
    this.#recentChars += text.length
    while (this.#recent.length > this.#recentMax || this.#recentChars > RECENT_CHARS_MAX) {
      const dropped = this.#recent.shift()!
      this.#recentChars -= dropped.text.length
      this.#floor = dropped.revision
      this.#first += 1
    }
    this.#wakeAll()
    return { reset: false, keys: line.events.map((event) => event[1]) }
  }

  #wakeAll(): void {
    for (const wake of this.#wakes) wake()
  }

  /**
   * The feed of a follower that has the state at `after` (0: none), as texts of lines. The follower's
   * pace is its own; when it falls behind what is kept it gets a snapshot. Ends with the signal.
   *
   * A follower may be ahead: the agent restarted from a replica a little older than what its edge has
   * seen. It keeps its newer state until the control plane's feed has caught up.
   */
  async *follow(after: number, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
    let generation = this.#generation
    let next = this.#resumeAt(after)
    let skipTo = after
    if (next !== undefined) yield encodeLine({ t: 'synced', revision: after })
    while (!signal.aborted) {
      if (generation !== this.#generation || (next !== undefined && next < this.#first))
        next = undefined
      if (next === undefined && this.#generation > 0) {
        generation = this.#generation
        next = yield* this.#snapshot()
        skipTo = 0
      } else if (next !== undefined && next < this.#end) {
        const { revision, text } = this.#recent[next++ - this.#first]!
        if (revision > skipTo) yield text
      } else if (!(await this.#wait(signal)) && !signal.aborted)
        yield encodeLine({ t: 'ping', revision: this.#revision })
    }
  }

  get #end(): number {
    return this.#first + this.#recent.length
  }

  /** Sequence number of the first line after revision `after`, if all since are kept. */
  #resumeAt(after: number): number | undefined {
    if (after === 0 || after < this.#floor || this.#generation === 0) return undefined
    const index = this.#recent.findIndex(({ revision }) => revision > after)
    return index < 0 ? this.#end : this.#first + index
  }

  /**
   * Entries are read while they change; every change since the begin follows them, so that the state
   * at `synced` is exact although no moment was held still. Returns the sequence number to go on
   * from, or undefined when another snapshot is due.
   */
  async *#snapshot(): AsyncGenerator<string, number | undefined, undefined> {
    const generation = this.#generation
    let next = this.#end
    let revision = this.#revision
    const isVoid = () => generation !== this.#generation || next < this.#first
    yield encodeLine({ t: 'snapshot' })
    if (isVoid()) return undefined
    for (const chunk of publicChunks(this.#entries)) {
      yield `{"t":"events","revision":${revision},"events":[${chunk.join(',')}]}\n`
      if (isVoid()) return undefined
    }
    while (next < this.#end) {
      const line = this.#recent[next++ - this.#first]!
      revision = line.revision
      yield line.text
      if (isVoid()) return undefined
    }
    yield encodeLine({ t: 'synced', revision })
    return next
  }

  /** False when nothing happened for the time between pings. */
  async #wait(signal: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const wake = () => resolve(true)
    const timer = setTimeout(() => resolve(false), this.#pingMs)
    this.#wakes.add(wake)
    signal.addEventListener('abort', wake, { once: true })
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#wakes.delete(wake)
      signal.removeEventListener('abort', wake)
    }
  }
}

const isPublic = (key: string): boolean => PUBLIC_PREFIXES.some((prefix) => key.startsWith(prefix))

function assign(entries: Map<string, string>, event: FeedEvent): void {
  if (event[0] === 'put') entries.set(event[1], JSON.stringify(event))
  else entries.delete(event[1])
}

function* publicChunks(entries: ReadonlyMap<string, string>): Generator<string[]> {
  let chunk: string[] = []
  let chars = 0
  for (const [key, text] of entries) {
    if (!isPublic(key)) continue
    chunk.push(text)
    chars += text.length
    if (chars < SNAPSHOT_LINE_CHARS) continue
    yield chunk
    chunk = []
    chars = 0
  }
  if (chunk.length > 0) yield chunk
}
