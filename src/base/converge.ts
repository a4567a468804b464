import { backoffMs, type Clock } from './clock.ts'
import { messageOf } from './errors.ts'
import type { Logger } from './log.ts'

/**
 * Brings something to the newest desired state, one run at a time: states that were overtaken while
 * a run was under way are skipped, failures are tried again with back-off, and the kernel is looked
 * at again now and then, because others may change it.
 */
export class Converger<T> {
  readonly #options: ConvergerOptions<T>
  readonly #closed = new AbortController()
  #desired: { readonly value: T } | undefined
  #dirty = false
  #running: Promise<void> | undefined
  #wake = new AbortController()

  constructor(options: ConvergerOptions<T>) {
    this.#options = options
  }

  submit(value: T): void {
    this.#desired = { value }
    this.again()
  }

  /** Looks again, without a new desired state. */
  again(): void {
    if (!this.#desired || this.#closed.signal.aborted) return
    this.#dirty = true
    this.#wake.abort()
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
  }

  /** Ends after the run that is under way. */
  async close(): Promise<void> {
    this.#closed.abort()
    this.#wake.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { apply, log, resyncMs = RESYNC_MS, random = Math.random } = this.#options
    let failures = 0
    while (!this.#closed.signal.aborted) {
      this.#dirty = false
      this.#wake = new AbortController()
      try {
        await apply(this.#desired!.value)
        failures = 0
      } catch (error) {
        failures += 1
        log.error({ reason: messageOf(error), failures }, 'not converged; trying again')
      }
      if (this.#dirty && failures === 0) continue
      await this.#pause(failures > 0 ? backoffMs(failures - 1, random) : resyncMs)
    }
  }

  async #pause(ms: number): Promise<void> {
    try {
      await this.#options.clock.sleep(ms, this.#wake.signal)
    } catch {
      // Woken by a new desired state or by the end.
    }
  }
}

export interface ConvergerOptions<T> {
  readonly apply: (desired: T) => Promise<void>
  readonly clock: Clock
  readonly log: Logger
  readonly random?: () => number
  readonly resyncMs?: number
}

const RESYNC_MS = 30_000
