import type { MachineEgress } from '../model/resources.ts'

/**
 * A machine's network on its host. The mesh implements it; the manager calls it before a machine's
 * first instruction and after its last.
 */
export interface MachineNetwork {
  /**
   * Resolves when all of it is in force: the namespace with its loopback and veth, addresses,
   * routes, the machine's elements in the firewall's sets, and the source that it leaves by.
   * Idempotent: repairs what is missing. `fresh` says that nothing of the machine runs yet: flows of
   * an earlier run end. Without it another `egress` moves new flows, and older ones go on.
   */
  attach(
    machine: AttachedMachine,
    options?: { readonly fresh?: boolean },
  ): Promise<{ readonly netnsPath: string }>
  /**
   * Optional: makes the namespace alone. Where it exists, a sandbox is made in the namespace while
   * `attach` puts the rest in force, and starts when both are done.
   */
  namespace?(machine: AttachedMachine): Promise<{ readonly netnsPath: string }>
  /**
   * Optional: of a machine that is attached, takes the elements out of the firewall's sets, so that
   * nothing leaves its namespace, and keeps the rest for the next `attach`.
   */
  silence?(id: string): Promise<void>
  /** Takes all of it away. Not an error when nothing is there. */
  detach(id: string): Promise<void>
  /** Ids of the machines that have a namespace, read from the kernel. */
  list(): Promise<string[]>
}

export interface AttachedMachine {
  readonly id: string
  /** Private IPv4; `v4 + 1` is the machine's fly-global-services address. */
  readonly v4: string
  /** 6PN address. */
  readonly v6: string
  readonly networkId: number
  /** Its static source; null is default egress. */
  readonly egress: MachineEgress | null
  /** 6PN address of the machine on this host that it may open connections to; null: none. */
  readonly testTarget: string | null
  /** `vm<slot>`: unique on the host, at most 7 characters, so that it can stand in a device name. */
  readonly hostSlotName: string
}
