import { backoffMs, type Clock } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { EVENTS_MAX } from '../model/resources.ts'
import {
  EGRESS_DRAINED_MAX,
  type HostReport,
  type MachineReport,
  REPORT_INTERVAL_MS,
} from '../model/wire.ts'

export interface ReporterDeps {
  readonly host: string
  /** Sends one report; throws a `FairwayError` with the control plane's status. */
  readonly send: (report: HostReport, signal: AbortSignal) => Promise<void>
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
}

export const REPORT_MACHINES_MAX = 200
/** What a control plane answers to a report that it will not take later either. */
const REFUSALS = [400, 413, 422]
const RETRY_MS = { firstMs: 50, maxMs: 1_000 }

/**
 * Tells the control plane what the host sees: at once when something changed, else each
 * REPORT_INTERVAL_MS as a sign of life. One report is under way at a time, and what changes meanwhile
 * goes into the next. A machine is reported until a report with it was taken.
 */
export class Reporter {
  readonly #deps: ReporterDeps
  readonly #machines = new Map<string, MachineReport>()
  #edgeRevision: number | null = null
  #egressRevision: number | null = null
  #egressDrained: HostReport['egressDrained'] = []
  #isDirty = true
  #wake = () => {}
  /** Smaller after a refusal, to find the machine that it is about. */
  #batchMax = REPORT_MACHINES_MAX

  constructor(deps: ReporterDeps) {
    this.#deps = deps
  }

  /** Machines whose last report was not taken yet. */
  get pending(): number {
    return this.#machines.size
  }

  setEdgeRevision(revision: number | null): void {
    if (revision === this.#edgeRevision) return
    this.#edgeRevision = revision
    this.#touch()
  }

  setEgressRevision(revision: number | null): void {
    if (revision === this.#egressRevision) return
    this.#egressRevision = revision
    this.#touch()
  }

  /** The whole of them: told with each report for as long as they are there, as many as it may have. */
  setEgressDrained(blocks: HostReport['egressDrained']): void {
    const told = blocks.slice(0, EGRESS_DRAINED_MAX)
    if (JSON.stringify(told) === JSON.stringify(this.#egressDrained)) return
    this.#egressDrained = told
    this.#touch()
  }

  machine(report: MachineReport): void {
    const before = this.#machines.get(report.machine)
    this.#machines.set(report.machine, before ? merge(before, report) : report)
    this.#touch()
  }

  #touch(): void {
    this.#isDirty = true
    this.#wake()
  }

  /** Reports until the signal aborts. */
  async run(meshPublicKey: string, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#deps
    for (let failures = 0; !signal.aborted; ) {
      if (!this.#isDirty) await this.#idle(signal)
      if (signal.aborted) return
      this.#isDirty = false
      const sent = [...this.#machines.values()].slice(0, this.#batchMax)
      try {
        await this.#send(meshPublicKey, sent, signal)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        this.#refused(error, sent)
        this.#isDirty = true
        if (failures === 0) log.warn({ error: messageOf(error) }, 'a report was not taken')
        await clock.sleep(backoffMs(failures++, random, RETRY_MS), signal).catch(() => {})
      }
    }
  }

  async #send(
    meshPublicKey: string,
    machines: readonly MachineReport[],
    signal: AbortSignal,
  ): Promise<void> {
    const { host, send } = this.#deps
    const [edgeRevision, egressRevision] = [this.#edgeRevision, this.#egressRevision]
    const egress = { egressRevision, egressDrained: this.#egressDrained }
    await send({ host, meshPublicKey, edgeRevision, ...egress, machines }, signal)
    for (const report of machines)
      if (this.#machines.get(report.machine) === report) this.#machines.delete(report.machine)
    if (this.#machines.size > 0) this.#isDirty = true
    this.#batchMax = Math.min(REPORT_MACHINES_MAX, this.#batchMax * 2)
  }

  /**
   * A report that the control plane will never take must not cost the host its life: machines are sent
   * one by one, and the one that is refused alone is given up.
   */
  #refused(error: unknown, sent: readonly MachineReport[]): void {
    const status = error instanceof FairwayError ? error.status : 503
    if (!REFUSALS.includes(status)) return
    const [only] = sent
    if (sent.length === 1 && only && this.#machines.get(only.machine) === only) {
      this.#machines.delete(only.machine)
      this.#deps.log.error(
        { machine: only.machine, state: only.state, error: messageOf(error) },
        'the control plane refuses the report of a machine; it is given up',
      )
    }
    this.#batchMax = 1
  }

  async #idle(signal: AbortSignal): Promise<void> {
    const timer = new AbortController()
    const wake = () => timer.abort()
    this.#wake = wake
    signal.addEventListener('abort', wake, { once: true })
    await this.#deps.clock.sleep(REPORT_INTERVAL_MS, timer.signal).catch(() => {})
    signal.removeEventListener('abort', wake)
    this.#wake = () => {}
  }
}

/** The newer report with the events of both: each is told at least once. */
function merge(before: MachineReport, report: MachineReport): MachineReport {
  const events = new Map([...before.events, ...report.events].map((event) => [event.id, event]))
  return { ...report, events: [...events.values()].slice(-EVENTS_MAX) }
}
