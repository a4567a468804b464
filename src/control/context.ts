import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Token } from '../model/resources.ts'
import type { Store } from '../store/store.ts'
import type { ControlConfig } from './config.ts'

/** What every domain function of the control plane works with. */
export interface Control {
  readonly store: Store
  readonly config: ControlConfig
  readonly clock: Clock
  readonly log: Logger
  /** Uniform in [0, 1); an argument, so that tests decide. Never the source of a secret. */
  readonly random: () => number
  readonly sealer: Sealer
  /** Which revision each live host's edge routes by. */
  readonly edges: HostAcks
  /** Up to which revision each live host's kernel translates and steers egress. */
  readonly egressAcks: HostAcks
}

/** What live hosts have brought in force: filled from their reports. */
export interface HostAcks {
  applied(host: string): number | null
  /**
   * Resolves when every live host that it `concerns` (all, by default) is at `revision` or newer, and
   * after `timeoutMs` at the latest; `waiting` are those that are not.
   */
  waitFor(
    revision: number,
    timeoutMs: number,
    concerns?: (host: AckedHost) => boolean,
  ): Promise<{ waiting: string[] }>
}
export interface AckedHost {
  readonly id: string
  readonly region: string
}

/** Seals short texts (secrets) at rest. */
export interface Sealer {
  seal(text: string): string
  /** Throws when the text was not sealed by this key, or was changed. */
  open(sealed: string): string
}

/** Who calls: every domain function that a person calls takes it and checks the org. */
export interface Actor {
  readonly token: Token
}
