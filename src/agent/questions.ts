const ANSWER_TIMEOUT_MS = 1_000

/** Questions to worker threads, each known by its number until it is answered. */
export class Questions {
  readonly #waiting = new Map<number, (answer: unknown) => void>()
  #last = 0

  /** The answer to what `send` asks with its number; null when none comes in time. */
  ask<T>(send: (id: number) => void): Promise<T | null> {
    const id = ++this.#last
    return new Promise((resolve) => {
      const give = (answer: unknown) => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        resolve(answer as T | null)
      }
      const timer = setTimeout(() => give(null), ANSWER_TIMEOUT_MS)
      this.#waiting.set(id, give)
      send(id)
    })
  }

  /** An answer that comes too late is nobody's. */
  answered(id: number, answer: unknown): void {
    this.#waiting.get(id)?.(answer)
  }
}
