/** Machines of one host that stand by: each holds a sandbox with a supervisor, some megabytes. */
export const STANDBYS_MAX = 16

interface Place {
  /** Somebody's turn may have come. */
  readonly wake: () => void
  /** The place is another's now. */
  readonly lost: () => void
}

/**
 * The places of machines that stand by, shared by the host's workers: who stopped last has one, and
 * one sandbox is made at a time, so that the starts of others hardly feel it.
 */
export class Standbys {
  readonly #max: number
  /** By machine, oldest first. */
  readonly #places = new Map<string, Place>()
  #making: string | undefined

  constructor(max = STANDBYS_MAX) {
    this.#max = max
  }

  /** Takes a place, when none is free that of the machine that stopped first. */
  enter(id: string, place: Place): boolean {
    if (this.#max === 0) return false
    this.leave(id)
    this.#places.set(id, place)
    const [first] = this.#places
    if (this.#places.size > this.#max && first) {
      this.leave(first[0])
      first[1].lost()
    }
    return true
  }

  leave(id: string): void {
    this.#places.delete(id)
    this.#made(id)
  }

  /** Runs `make`, unless it is another's turn: then false, and `wake` is called later. */
  async make(id: string, make: () => Promise<void>): Promise<boolean> {
    if (this.#making !== undefined) return false
    this.#making = id
    try {
      await make()
    } finally {
      this.#made(id)
    }
    return true
  }

  #made(id: string): void {
    if (this.#making !== id) return
    this.#making = undefined
    for (const { wake } of [...this.#places.values()]) wake()
  }
}
