import type { Candidate, HostRoute, PortRoute } from '../../view/edge-view.ts'
import type { LoadBucket } from './loads.ts'
import type { Steering } from './steering.ts'

/**
 * Who serves a request. Choosing and counting are one step, so that neither a limit nor a drain can
 * be missed between them.
 */
export interface Balancer {
  claim(route: PortRoute, wanted: ClaimOptions): Lease | Refusal
  /** What a claim at this moment would go by; the best first. Claims nothing. */
  explain(route: PortRoute, wanted: ClaimOptions): readonly Standing[]
}

/** How one candidate stands. */
export interface Standing {
  readonly candidate: Candidate
  /** Why it cannot be chosen; null when it can. */
  readonly refused: RefusalReason | null
  /** The least is chosen; equal ones at random. */
  readonly score: number
  readonly distanceMs: number
  readonly bucket: LoadBucket
  /** Null for machines of other hosts, which count for themselves. */
  readonly inFlight: number | null
  readonly isLastResort: boolean
  /** It fails requests, and gets none while others can serve. */
  readonly isEjected: boolean
  /** How far it is from what the request asks for (Steering); 0 is nothing better. */
  readonly rank: number
}

export interface ClaimOptions {
  /** Machines that have failed this request already; null when none has. */
  readonly exclude: ReadonlySet<string> | null
  /**
   * Set when another edge has chosen and this host has to answer for its own machine: the slot is
   * counted exactly, the hard limit enforced.
   */
  readonly machine: string | null
  /**
   * When nobody else is left, take a machine of another host although it was at its hard limit when
   * that host last said so: it refuses when that is still true.
   */
  readonly probe?: Probe | null
  /** Where it should go, or has to; null: wherever is best. */
  readonly steering?: Steering | null
}

/** The machine to try, or any. */
export type Probe = { readonly machine: string } | 'any'

/** One claimed slot on a machine. */
export interface Lease {
  readonly candidate: Candidate
  /** The host to reach it through; null when it runs on this one. */
  readonly via: HostRoute | null
  /** It could not be reached a moment ago, and was chosen for want of another. */
  readonly isDoubtful: boolean
  /** Gives the slot back. More than once is harmless. */
  release(): void
  /** What the next claims should know. */
  failed(how: ClaimFailure): void
  /** The machine has answered, and not with an error of its own. */
  succeeded(): void
}

export type ClaimFailure =
  /** Its host refused it for another reason than its limit, or broke off before it had accepted. */
  | 'refused'
  /** Its host says that it is at its hard limit: not chosen for a moment. */
  | 'full'
  /** Nothing listens: not chosen for a moment, and for a while only when there is no other. */
  | 'unreached'
  /** The host could not be reached: for a while its machines are chosen when there is no other. */
  | 'host-unreached'
  /** The machine had it, and broke off, took too long or answered with an error of its own (5xx). */
  | 'broke'

/** Whose slot was given back: a machine's of this host that had none left, or had; another host's. */
export type Released = 'of-full' | 'of-free' | 'elsewhere'

export interface Refusal {
  readonly refused: RefusalReason
}

export type RefusalReason =
  /** No machine exposes the port, or all were tried. */
  | 'none'
  /** There are some, but none that is started, healthy and not cordoned. */
  | 'unavailable'
  /** None can serve now, but one of them is about to: worth a short wait. */
  | 'starting'
  /** The one that could serve could not be reached a moment ago, or does not pass its checks (yet). */
  | 'down'
  /** All that could serve are at their hard limit: worth waiting for. */
  | 'hard-limit'
  /** The request may only go elsewhere. */
  | 'unwanted'
  // What a host answers about one machine of its own.
  | 'not-here'
  | 'not-started'
  | 'cordoned'
  | 'unhealthy'

export const isRefusal = (claimed: Lease | Refusal): claimed is Refusal => 'refused' in claimed
