import type { Candidate, HostRoute, PortRoute } from '../../view/edge-view.ts'

/**
 * Who serves a request. Choosing and counting are one step, so that neither a limit nor a drain can
 * be missed between them.
 */
export interface Balancer {
  claim(route: PortRoute, wanted: ClaimOptions): Lease | Refusal
}

export interface ClaimOptions {
  /** Machines that have failed this request already; null when none has. */
  readonly exclude: ReadonlySet<string> | null
  /**
   * Set when another edge has chosen and this host has to answer for its own machine: the slot is
   * counted exactly, the hard limit enforced.
   */
  readonly machine: string | null
}

/** One claimed slot on a machine. */
export interface Lease {
  readonly candidate: Candidate
  /** The host to reach it through; null when it runs on this one. */
  readonly via: HostRoute | null
  /** Gives the slot back. More than once is harmless. */
  release(): void
  /** The machine or its host could not be reached: others are preferred for a while. */
  suspect(): void
}

export interface Refusal {
  readonly refused: RefusalReason
}

export type RefusalReason =
  /** No machine exposes the port, or all were tried. */
  | 'none'
  /** There are some, but none that is started, healthy and not cordoned. */
  | 'unavailable'
  /** All that could serve are at their hard limit: worth waiting for. */
  | 'hard-limit'

export const isRefusal = (claimed: Lease | Refusal): claimed is Refusal => 'refused' in claimed
