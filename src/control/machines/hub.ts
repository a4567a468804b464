import type { WatchBatch, WatchEvent } from '../../store/store.ts'
import type { FollowSink } from '../follow.ts'

export const HUB_PREFIXES = ['machine/', 'status/'] as const

/** A change of a machine's record or status; `missed`: there were others, read anew. */
export type HubEvent = WatchEvent | 'missed'
export type HubListener = (event: HubEvent) => void

/**
 * One watch of the store, shared by every request that waits for a machine. Changes come in the
 * store's order, none is skipped: a machine that starts and exits at once was seen started.
 */
export class MachineHub implements FollowSink {
  readonly #listeners = new Map<string, Set<HubListener>>()

  /** Returns the function that ends the subscription. */
  subscribe(machine: string, listener: HubListener): () => void {
    const listeners = this.#listeners.get(machine) ?? new Set()
    this.#listeners.set(machine, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#listeners.get(machine) === listeners)
        this.#listeners.delete(machine)
    }
  }

  get size(): number {
    let size = 0
    for (const listeners of this.#listeners.values()) size += listeners.size
    return size
  }

  reset(): void {
    for (const listeners of [...this.#listeners.values()]) {
      for (const listener of [...listeners]) listener('missed')
    }
  }

  apply(batch: WatchBatch): void {
    for (const event of batch.events) {
      const key = event.type === 'put' ? event.kv.key : event.key
      const listeners = this.#listeners.get(key.slice(key.lastIndexOf('/') + 1))
      if (listeners) for (const listener of [...listeners]) listener(event)
    }
  }
}
