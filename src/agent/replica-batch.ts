import type { FeedLine } from '../model/wire.ts'

/** Lines of a feed, put together for one transaction of the replica. */
export interface ReplicaBatch {
  /** A snapshot begins: what follows is kept aside until a batch has a revision. */
  readonly begin: boolean
  /** Key -> its value's text and revision, or null when the key is gone. */
  readonly changes: ReadonlyMap<string, readonly [value: string, revision: number] | null>
  /** The state is complete at this revision after the batch; null within a snapshot. */
  readonly revision: number | null
}

/** Collects lines until somebody takes them; a key that changes often costs one entry. */
export class ReplicaBatcher {
  #begin = false
  #changes = new Map<string, readonly [string, number] | null>()
  #revision: number | null = null
  #inSnapshot = false

  get isEmpty(): boolean {
    return !this.#begin && this.#changes.size === 0 && this.#revision === null
  }

  /** The state is complete after what was collected. */
  get isComplete(): boolean {
    return this.#revision !== null
  }

  get size(): number {
    return this.#changes.size
  }

  add(line: FeedLine): void {
    if (line.t === 'snapshot') {
      this.clear() // Changes that nobody took are part of the snapshot.
      this.#begin = true
      this.#inSnapshot = true
    } else if (line.t === 'synced') {
      if (this.#inSnapshot) this.#revision = line.revision
      this.#inSnapshot = false
    } else if (line.t === 'events') {
      for (const event of line.events)
        this.#changes.set(
          event[1],
          event[0] === 'put' ? [JSON.stringify(event[2]) ?? 'null', event[3]] : null,
        )
      if (!this.#inSnapshot) this.#revision = line.revision
    }
  }

  take(): ReplicaBatch {
    const batch = { begin: this.#begin, changes: this.#changes, revision: this.#revision }
    this.clear()
    return batch
  }

  clear(): void {
    this.#begin = false
    this.#changes = new Map()
    this.#revision = null
  }
}
