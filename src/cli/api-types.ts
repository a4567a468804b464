import type { MachineConfig } from '../model/machine-config.ts'
import type { CheckStatus, MachineEvent, MachineState } from '../model/resources.ts'

/** Answers of the API as far as the CLI reads them (flyctl-api 3 to 5). */

export interface ApiMachine {
  readonly id: string
  readonly name: string
  readonly state: MachineState
  readonly region: string
  readonly instance_id: string
  readonly private_ip: string
  readonly host_status?: string
  readonly cordoned?: boolean
  readonly created_at: string
  readonly updated_at: string
  readonly image_ref?: {
    readonly repository?: string
    readonly tag?: string
    readonly digest?: string
  }
  readonly config: MachineConfig
  readonly events?: readonly MachineEvent[]
  readonly checks?: readonly CheckStatus[]
  readonly egress?: ApiMachineEgress | null
}

/** Where a machine's connections to the internet come from. */
export interface ApiMachineEgress {
  /** Null together: default egress, through addresses of the host. */
  readonly v4: string | null
  readonly v6: string | null
  readonly slot?: number | null
  readonly count?: number | null
  /** Why nothing of it leaves, although it should. */
  readonly problem?: string | null
}

export interface ApiApp {
  readonly id: string
  readonly name: string
  readonly network?: string
  readonly status: string
  readonly organization: { readonly slug: string; readonly name?: string }
}

export interface ApiRegion {
  readonly code: string
  readonly name: string
  readonly geo_region?: string
  readonly deprecated?: boolean
}

export interface ApiIpAssignment {
  readonly ip: string
  readonly region: string
  readonly service_name: string
  readonly shared: boolean
  readonly created_at: string
}

export interface ApiRelease {
  readonly id: string
  readonly version: number
}

export interface GqlOrg {
  readonly id: string
  readonly slug: string
  readonly name: string
  readonly type: string
}

export const METADATA = {
  platform: 'fly_platform_version',
  group: 'fly_process_group',
  releaseId: 'fly_release_id',
  releaseVersion: 'fly_release_version',
  canary: 'fly_canary',
  bluegreen: 'fly_bluegreen',
} as const

/** The process group, for machines that a deploy made; undefined for those of `machine run`. */
export function groupOf(machine: ApiMachine): string | undefined {
  const metadata = machine.config.metadata ?? {}
  return metadata[METADATA.platform] === 'v2' ? (metadata[METADATA.group] ?? 'app') : undefined
}

/**
 * Not of the app yet: a canary, or a new machine of a bluegreen deploy before the switch; or what is
 * left of one when the deploy that made it was killed.
 */
export const isProvisional = ({ config }: ApiMachine): boolean =>
  [METADATA.canary, METADATA.bluegreen].some((mark) => mark in (config.metadata ?? {}))
