import type { MachineEgress } from '../model/resources.ts'

/** A machine as its source is decided. Addresses are canonical or not. */
export interface EgressMachine {
  /** Private IPv4; `v4 + 1` (fly-global-services) leaves by the same source. */
  readonly v4: string
  /** 6PN address. */
  readonly v6: string
  /** Null is default egress: the host's own IPv4, and `publicV6`. */
  readonly egress: MachineEgress | null
  /** Its public IPv6 with default egress; null is the host's own. */
  readonly publicV6: string | null
}

/** Adjacent slots of an egress address, and the index of the host that translates to them. */
export interface SlotOwner {
  /** IPv4 or IPv6; the slots of a pair are told for each of its addresses. */
  readonly address: string
  readonly slot: number
  readonly count: number
  readonly hostIndex: number
}

/** A block that is to be given back. */
export interface DrainingBlock {
  readonly pair: string
  readonly v4: string | null
  readonly v6: string | null
  readonly slot: number
  readonly count: number
}

/** The table `inet egress` of one host: from which source each machine leaves, and who gets answers. */
export interface EgressTable {
  /**
   * Puts the table in force, with what the kernel had of it; machines that run go on undisturbed.
   * After the guard, before machines.
   */
  start(): Promise<void>
  /**
   * Resolves when the machine leaves by its source, static or default, and by nothing else. A static
   * address that is not held is none: the family is closed. Idempotent. Another source than before moves new flows, older ones keep theirs until they end;
   * with `fresh` (nothing of the machine runs yet) older flows end now.
   */
  admit(machine: EgressMachine, options?: { readonly fresh?: boolean }): Promise<void>
  /**
   * Nothing of a machine's private addresses leaves any more, and their connections are forgotten.
   * Not an error when they are not there.
   */
  remove(addresses: Iterable<string>): Promise<void>
  /**
   * The whole of the slots that other hosts own. One transaction of the difference. This host's own
   * are left out by the caller.
   */
  steer(owners: Iterable<SlotOwner>): Promise<void>
  /**
   * The whole of the static addresses that pairs have: from now on machines are admitted with these
   * alone. Until the first call all are. Returns at once.
   */
  hold(addresses: Iterable<string>): void
  /**
   * Resolves when nothing leaves by a static address that is not held: machines that had one are
   * closed in that family, and flows that began with one end.
   */
  letGo(): Promise<void>
  /** Those of `blocks` that no flow of this host uses any more. */
  drained<T extends DrainingBlock>(blocks: readonly T[]): Promise<T[]>
  /**
   * Compares the table with the kernel, puts in force what is not, and forgets sources that no flow
   * has any more. Done by itself now and then.
   */
  look(): Promise<void>
  /** How often the table, or a part of it, was not as it had been left, and was put in force again. */
  readonly repairs: number
  /** Ends the work, and leaves everything in force. */
  close(): Promise<void>
}
