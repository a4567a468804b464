import { backoffMs, type Clock, isoTime } from '../../base/clock.ts'
import type { CheckStatus, Machine } from '../../model/resources.ts'
import { type CheckPlan, type ProbePlan, planChecks } from './plan.ts'
import type { ProbeResult } from './probe.ts'

export type Probe = (
  plan: ProbePlan,
  address: string,
  timeoutMs: number,
  signal: AbortSignal,
) => Promise<ProbeResult>

export interface CheckRunnerOptions {
  readonly clock: Clock
  readonly random: () => number
  readonly probe: Probe
  /** A status of the machine changed (not merely its time). */
  readonly onChange: (machine: string) => void
}

/** Probes at one time on a host; a further one waits its turn. */
export const PROBES_MAX = 64
/** After a failure the next probes come soon, so that a machine that recovers is found quickly. */
const RETRY = { firstMs: 250, maxMs: 60_000 }
/** Probes of machines that started together drift apart. */
const JITTER = 0.1

interface MachineChecks {
  readonly plans: readonly CheckPlan[]
  readonly statuses: CheckStatus[]
  readonly running: AbortController | null
}

/** Runs the checks of all machines of a host, each check in a loop of its own. */
export class CheckRunner {
  readonly #options: CheckRunnerOptions
  readonly #machines = new Map<string, MachineChecks>()
  readonly #waiting: (() => void)[] = []
  #active = 0

  constructor(options: CheckRunnerOptions) {
    this.#options = options
  }

  /** The machine's program runs from now on. */
  start(machine: Machine): void {
    this.#machines.get(machine.id)?.running?.abort()
    const plans = planChecks(machine.config)
    const running = new AbortController()
    const statuses = this.#initial(plans, 'The check has not passed yet')
    const checks = { plans, statuses, running }
    this.#machines.set(machine.id, checks)
    const startedMs = this.#options.clock.now()
    plans.forEach((plan, index) => {
      void this.#loop(machine, checks, { plan, index, startedMs, signal: running.signal })
    })
  }

  /** It runs no more: its checks say so, and none passes. */
  stop(id: string): void {
    const checks = this.#machines.get(id)
    if (!checks?.running) return
    checks.running.abort()
    const { plans } = checks
    const statuses = this.#initial(plans, 'The machine is not running')
    this.#machines.set(id, { plans, statuses, running: null })
  }

  forget(id: string): void {
    this.stop(id)
    this.#machines.delete(id)
  }

  statuses(id: string): readonly CheckStatus[] {
    return [...(this.#machines.get(id)?.statuses ?? [])]
  }

  /**
   * S36: whether every check of the service passes. A service with checks is unhealthy until each
   * has passed once; one without is healthy.
   */
  healthy(machine: Machine, service: number): boolean {
    const checks = this.#machines.get(machine.id)
    if (!checks) return !(machine.config.services?.[service]?.checks ?? []).length
    return checks.plans.every(
      (plan, index) => plan.service !== service || checks.statuses[index]!.status === 'passing',
    )
  }

  close(): void {
    for (const id of [...this.#machines.keys()]) this.forget(id)
  }

  #initial(plans: readonly CheckPlan[], output: string): CheckStatus[] {
    const updated_at = isoTime(this.#options.clock.now())
    return plans.map(({ name }) => ({ name, status: 'warning', output, updated_at }))
  }

  async #loop(
    machine: Machine,
    checks: MachineChecks,
    loop: { plan: CheckPlan; index: number; startedMs: number; signal: AbortSignal },
  ): Promise<void> {
    const { clock, random, probe } = this.#options
    const { plan, index, startedMs, signal } = loop
    let failures = 0
    while (!signal.aborted) {
      await this.#turn()
      const result = await probe(plan.probe, machine.v4, plan.timeoutMs, signal).finally(() =>
        this.#next(),
      )
      if (signal.aborted) return
      failures = result.passed ? 0 : failures + 1
      const graced = clock.now() < startedMs + plan.graceMs
      const before = checks.statuses[index]!
      const status = result.passed
        ? 'passing'
        : // Grace forgives a machine that has not come up yet, not one that came up and fell.
          graced && before.status === 'warning'
          ? 'warning'
          : 'critical'
      const { output } = result
      checks.statuses[index] = { name: plan.name, status, output, updated_at: isoTime(clock.now()) }
      // The text of a pass may differ every time (a clock, a counter): that is no news.
      const news = status !== 'passing' && output !== before.output
      if (status !== before.status || news) this.#options.onChange(machine.id)
      const delayMs = result.passed
        ? plan.intervalMs * (1 - JITTER / 2 + JITTER * random())
        : Math.min(plan.intervalMs, backoffMs(failures - 1, random, RETRY))
      await clock.sleep(delayMs, signal).catch(() => {})
    }
  }

  async #turn(): Promise<void> {
    if (this.#active >= PROBES_MAX)
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#active += 1
  }

  /** The place goes to the next that waits. */
  #next(): void {
    const waiting = this.#waiting.shift()
    if (waiting) waiting()
    else this.#active -= 1
  }
}
