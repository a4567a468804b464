import type { Host, Machine } from '../model/resources.ts'
import type { AgentCall, LogLine, MachineReport } from '../model/wire.ts'

/** What the agent needs of the parts that do the work on its host. */

/** src/machine/manager.ts */
export interface MachineManager {
  /** Adopts what runs. Before the first `apply`. */
  start(): Promise<void>
  /**
   * The whole desired state of this host. Machines that are not in it are taken away, except those
   * in `unreadable`: their record is there but says nothing that can be acted upon.
   */
  apply(machines: ReadonlyMap<string, Machine>, unreadable?: ReadonlySet<string>): void
  onReport(callback: (report: MachineReport) => void): void
  logs(call: Extract<AgentCall, { method: 'logs' }>, signal: AbortSignal): AsyncIterable<LogLine>
  ps(machineId: string): Promise<unknown>
  edgeLog(line: LogLine): void
  setLoad(machine: string, service: number, load: 0 | 1 | 2): void
  /** Machines live on. */
  close(): Promise<void>
}

/** src/mesh/host-network.ts */
export interface HostNetwork {
  /** Resolves when firewall, mesh and pools are in force; machines need it first. */
  start(): Promise<{ readonly meshPublicKey: string }>
  applyHosts(hosts: readonly Host[]): void
  /** Everything stays in force. */
  close(): Promise<void>
}

/** src/anycast/announcer.ts */
export interface Announcer {
  /** Addresses that this host's region alone announces. */
  apply(addresses: Iterable<string>): void
}
