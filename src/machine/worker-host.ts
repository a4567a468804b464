import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { CheckStatus, Machine } from '../model/resources.ts'
import type { LogLine, MachineReport } from '../model/wire.ts'
import type { Prepared } from './prepare.ts'
import type { MachineRecord } from './record.ts'
import type { Runtime } from './runtime.ts'
import type { Standbys } from './standbys.ts'

/** What a worker needs of its host; one for all workers. */
export interface WorkerHost {
  readonly runtime: Runtime
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  /** The folder of a machine. */
  folder(id: string): string
  /** Keeps the record, before anybody hears of what it says. */
  save(record: MachineRecord): Promise<void>
  /** Nothing is left of the machine: removes its folder and its worker. */
  forget(id: string): Promise<void>
  /**
   * Everything before the sandbox: launch specification, artifact, network, bundle; answers the
   * record with its stamp. Takes its turn among the starts of the host.
   */
  prepare(machine: Machine, record: MachineRecord): Promise<Prepared>
  /**
   * Repairs the network of a machine that runs, and moves its new flows when its egress is another;
   * `fresh` when nothing of it runs yet.
   */
  attach(machine: Machine, options?: { readonly fresh?: boolean }): Promise<unknown>
  /** Takes the machine's network away. */
  detach(id: string): Promise<void>
  /** Keeps a machine's network, but lets nothing out of it before the next `attach`. */
  silence(id: string): Promise<void>
  /** The places of machines that are ready to start. */
  readonly standbys: Standbys
  /** Runs `task` when the host has room for one more start. */
  startSlot<T>(task: () => Promise<T>): Promise<T>
  /** The program runs: its checks begin. `stopped` ends them. */
  started(machine: Machine): void
  stopped(id: string): void
  checks(id: string): WorkerChecks
  report(report: MachineReport): void
  line(line: Pick<LogLine, 'app' | 'machine' | 'level' | 'message'>): void
}

export interface WorkerChecks {
  readonly statuses: readonly CheckStatus[]
  /** By index of `config.services`. */
  readonly services: MachineReport['services']
}
