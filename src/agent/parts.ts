import type { EgressPair, Host, Machine, OutboundProxy } from '../model/resources.ts'
import type {
  AgentCall,
  EgressCheck,
  EgressUsage,
  ExecLine,
  HostReport,
  LogLine,
  MachineReport,
} from '../model/wire.ts'

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
  /** Output of the command, then one `exit`. */
  exec(call: Extract<AgentCall, { method: 'exec' }>, signal: AbortSignal): AsyncIterable<ExecLine>
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

/** src/egress/watch.ts */
export interface EgressWatch {
  start(): Promise<void>
  /** All machines of the host. */
  apply(machines: ReadonlyMap<string, Machine>): void
  /** Ports in use, for each machine with a static source; of one app when it is named. */
  usage(app: string | undefined, signal: AbortSignal): Promise<readonly EgressUsage[]>
  /** Throws a `FairwayError` for what cannot be tried; what a try came to is in the result. */
  check(call: Extract<AgentCall, { method: 'egress-check' }>): Promise<EgressCheck>
  close(): Promise<void>
}

/** Static sources: steering of answers, and blocks that are given back (host-egress.ts). */
export interface HostEgress {
  /** Puts the table in force with what the kernel had. After the network, before machines. */
  start(): Promise<void>
  follow(sink: EgressSink): void
  /** Returns at once. */
  apply(records: EgressRecords): void
  /** Resolves when the first records that were applied are in force. */
  ready(): Promise<void>
  /** Everything stays in force. */
  close(): Promise<void>
}

export interface EgressRecords {
  /** Of the feed. */
  readonly revision: number
  /** Not changed afterwards: another map when a host is another. */
  readonly hosts: ReadonlyMap<string, Host>
  readonly pairs: ReadonlyMap<string, EgressPair>
  readonly outbound: readonly OutboundProxy[]
}

export interface EgressSink {
  /** The kernel steers by the records of `revision`; `announced` are addresses for the Announcer. */
  inForce(state: { readonly revision: number; readonly announced: readonly string[] }): void
  /** All blocks in state `drain` of this host that no flow uses. */
  drained(blocks: HostReport['egressDrained']): void
}

/** src/anycast/announcer.ts */
export interface Announcer {
  /**
   * `anycast`: addresses that this host's region alone announces, while its edge serves. `egress`:
   * static sources that are no part of its region's prefixes, or that several regions share.
   */
  apply(addresses: { anycast: Iterable<string>; egress: Iterable<string> }): void
}
