import { backoffMs, type Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Machine } from '../model/resources.ts'

const BACKOFF = { firstMs: 500, maxMs: 30_000 }

/**
 * The source of a machine that runs: it may change while it does, and what cannot be put in force is
 * said and tried again, beside all else that is done with the machine.
 */
export class MachineEgressKeeper {
  readonly #attach: (machine: Machine) => Promise<unknown>
  readonly #clock: Clock
  readonly #random: () => number
  /** What is in force, as text; undefined when nobody knows. */
  #inForce: string | undefined
  #failures = 0
  #retryAtMs = 0
  #problem: string | null = null

  constructor(
    attach: (machine: Machine) => Promise<unknown>,
    { clock, random }: { readonly clock: Clock; readonly random: () => number },
  ) {
    this.#attach = attach
    this.#clock = clock
    this.#random = random
  }

  /** Why the machine does not leave by the source of its record; null when it does. */
  get problem(): string | null {
    return this.#problem
  }

  /** When to try again; undefined when there is nothing to try. */
  retryAtMs(machine: Machine): number | undefined {
    return textOf(machine) === this.#inForce ? undefined : this.#retryAtMs
  }

  /** It was attached, and has just begun to run. */
  started(machine: Machine): void {
    this.#inForce = textOf(machine)
    this.#settled()
  }

  /** Nothing of it runs. */
  stopped(): void {
    this.#inForce = undefined
    this.#settled()
  }

  /** Puts the machine's source in force; false when that failed. */
  async apply(machine: Machine): Promise<boolean> {
    try {
      await this.#attach(machine)
    } catch (error) {
      const waitMs = backoffMs(this.#failures++, this.#random, BACKOFF)
      this.#inForce = undefined
      this.#retryAtMs = this.#clock.now() + Math.round(waitMs)
      this.#problem = `its source address is not in force: ${messageOf(error)}`
      return false
    }
    this.started(machine)
    return true
  }

  #settled(): void {
    this.#failures = 0
    this.#retryAtMs = 0
    this.#problem = null
  }
}

/** Whether both leave by the same address and ports. */
export const isSameSource = (a: Machine, b: Machine): boolean => textOf(a) === textOf(b)

const textOf = ({ egress }: Machine): string => JSON.stringify(egress)
