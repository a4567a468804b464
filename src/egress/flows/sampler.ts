import { readFileSync } from 'node:fs'
import type { Clock } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Exec } from '../../kernel/exec.ts'
import type { EgressUsage } from '../../model/wire.ts'
import {
  countsOf,
  type NamedCounter,
  NO_COUNTS,
  readCounters,
  readMachineCounts,
} from './counters.ts'
import { readFlowTable, type TableOptions } from './table.ts'
import { type StaticMachine, sourceForms, UsageBook, UsageSample } from './usage.ts'

export interface SamplerDeps {
  readonly host: string
  readonly region: string
  /** Machines of the host with a static source, as they are now. */
  readonly machines: () => readonly StaticMachine[]
  readonly exec: Exec
  readonly clock: Clock
  readonly log: Logger
  /** For tests. */
  readonly table?: Pick<TableOptions, 'path' | 'command'>
  readonly limits?: string
}

export const SAMPLE_MS = 10_000
/** Looks take at most this part of the time: one that takes 300 ms is followed by 15 s of rest. */
const REST_FACTOR = 50
/** A question is answered from a look that is at most so old. */
const FRESH_MS = 1_000
const NETFILTER = '/proc/sys/net/netfilter'

/**
 * Looks at connection tracking now and then, while there is a machine with a static source, and keeps
 * what it saw. Marks are those of the looks: what comes and goes between two of them is not seen.
 */
export class EgressSampler {
  readonly #deps: SamplerDeps
  readonly #book = new UsageBook()
  #counters: readonly NamedCounter[] = []
  #counts = NO_COUNTS
  #looking: Promise<void> | undefined
  /** What the last look took. */
  #tookMs = 0
  #looks = 0
  #failures = 0

  constructor(deps: SamplerDeps) {
    this.#deps = deps
  }

  /** Until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { machines, clock } = this.#deps
    while (!signal.aborted) {
      if (machines().length > 0) await this.#look(signal)
      const restMs = Math.max(SAMPLE_MS, this.#tookMs * REST_FACTOR)
      await clock.sleep(restMs, signal).catch(() => {})
    }
  }

  /** From a look that is not older than a second. */
  async usage(app: string | undefined, signal: AbortSignal): Promise<EgressUsage[]> {
    const { clock, machines, host, region } = this.#deps
    if (machines().length === 0) return []
    if (clock.now() - this.#book.sampledAtMs > FRESH_MS) await this.#look(signal)
    const where = { host, region, ...(app === undefined ? {} : { app }) }
    return this.#book.usage(where, (machine) => countsOf(this.#counts, sourceForms(machine)))
  }

  /** What the last looks have shown, without another. Sizes of the table are those of this moment. */
  snapshot(): SamplerSnapshot {
    const { host, region, machines, limits = NETFILTER } = this.#deps
    const number = (name: string): number | null => {
      try {
        const value = Number(readFileSync(`${limits}/${name}`, 'utf8'))
        return Number.isSafeInteger(value) ? value : null
      } catch {
        return null
      }
    }
    return {
      usage: machines().length === 0 ? [] : this.#book.usage({ host, region }),
      counters: this.#counters,
      tracked: number('nf_conntrack_count'),
      trackedMax: number('nf_conntrack_max'),
      ...{ looks: this.#looks, failures: this.#failures, tookMs: this.#tookMs },
    }
  }

  /** Reads the named counters anew; metrics are asked for seldom. */
  async refreshCounters(): Promise<void> {
    try {
      this.#counters = await readCounters(this.#deps.exec)
    } catch (error) {
      this.#failed('the counters of egress cannot be read', error)
    }
  }

  /** One at a time; who asks meanwhile gets the same. Never throws. */
  #look(signal: AbortSignal): Promise<void> {
    this.#looking ??= this.#lookOnce(signal).finally(() => {
      this.#looking = undefined
    })
    return this.#looking
  }

  async #lookOnce(signal: AbortSignal): Promise<void> {
    const { machines, clock, table } = this.#deps
    const began = performance.now()
    const sample = new UsageSample(machines())
    try {
      const isWhole = await readFlowTable((line) => sample.line(line), { ...table, signal })
      if (signal.aborted) return
      this.#counts = await readMachineCounts(this.#deps.exec)
      // Half of the entries would look like ports that are free.
      if (!isWhole) throw new Error(`it takes too long: ${sample.entries} entries were read`)
      this.#looks += 1
      this.#book.take(sample, clock.now())
    } catch (error) {
      this.#failed('connection tracking cannot be read', error)
    }
    this.#tookMs = performance.now() - began
  }

  #failed(what: string, error: unknown): void {
    this.#failures += 1
    this.#deps.log.warn({ error: messageOf(error) }, what)
  }
}

export interface SamplerSnapshot {
  readonly usage: readonly EgressUsage[]
  readonly counters: readonly NamedCounter[]
  /** Entries of connection tracking and their limit; null when the kernel does not say. */
  readonly tracked: number | null
  readonly trackedMax: number | null
  readonly looks: number
  readonly failures: number
  readonly tookMs: number
}
