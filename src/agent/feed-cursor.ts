import type { FeedLine } from '../model/wire.ts'

/**
 * Where a follower stands in a feed. One that was cut off within a snapshot has half of it, so it
 * asks for a whole one again: `synced` would otherwise complete what is not complete.
 */
export class FeedCursor {
  #revision: number
  #inSnapshot = false

  constructor(after: number) {
    this.#revision = after
  }

  /** What to ask for when the feed is opened again; 0 asks for a snapshot. */
  get after(): number {
    return this.#inSnapshot ? 0 : this.#revision
  }

  take(line: FeedLine): void {
    if (line.t === 'snapshot') this.#inSnapshot = true
    else if (line.t === 'synced') {
      this.#inSnapshot = false
      this.#revision = line.revision
    } else if (line.t === 'events' && !this.#inSnapshot) this.#revision = line.revision
  }
}
