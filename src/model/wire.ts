import type { CheckStatus, MachineEvent, MachineState } from './resources.ts'

/**
 * What control plane, agent and edge say to each other. Newline-delimited JSON in both hops:
 *
 *   control --(HTTPS, mutual TLS)--> agent --(unix socket)--> edge
 *
 * The feed is the same in both: a snapshot or a resumption, then batches in order of revision.
 */

export type FeedEvent =
  | readonly ['put', key: string, value: unknown, modRevision: number]
  | readonly ['delete', key: string]

export type FeedLine =
  /** Everything before is void: a whole state follows, ended by `synced`. */
  | { readonly t: 'snapshot' }
  | { readonly t: 'events'; readonly revision: number; readonly events: readonly FeedEvent[] }
  /** The state is complete at `revision`; only changes follow. Also sent when a feed resumes. */
  | { readonly t: 'synced'; readonly revision: number }
  /** At least every FEED_PING_MS when nothing else is said. */
  | { readonly t: 'ping'; readonly revision: number }
  /** A question to the agent; answered by POST /agent/v1/calls/:id. Never sent to an edge. */
  | { readonly t: 'call'; readonly id: string; readonly call: AgentCall }

export const FEED_PING_MS = 1_000
/** A feed that is silent for so long is dead. */
export const FEED_SILENCE_MAX_MS = 4_000
export const FEED_LINE_BYTES_MAX = 8 * 1024 * 1024

export type AgentCall =
  | {
      readonly method: 'logs'
      readonly app: string
      readonly machine?: string
      /** How many of the last lines; then, when `follow`, new ones until the caller hangs up. */
      readonly tail: number
      readonly follow: boolean
    }
  | { readonly method: 'ps'; readonly machine: string }

/** One line of an app's log, as NDJSON. `machine` is empty for lines of the edge. */
export interface LogLine {
  readonly timestamp: string
  readonly app: string
  readonly machine: string
  readonly region: string
  readonly host: string
  readonly level: 'info' | 'error' | 'warn'
  readonly source: 'app' | 'proxy' | 'machine'
  readonly message: string
}

/** POST /agent/v1/report: also the host's sign of life, at least every REPORT_INTERVAL_MS. */
export interface HostReport {
  readonly host: string
  readonly meshPublicKey: string
  /** Revision up to which the host's edge routes; null while there is no edge. */
  readonly edgeRevision: number | null
  readonly machines: readonly MachineReport[]
}
export const REPORT_INTERVAL_MS = 1_000
/** The host counts as gone when it has not reported for so long. */
export const HOST_LEASE_MS = 3_000

/** Sent when something of it changed, and again until the control plane has answered 200. */
export interface MachineReport {
  readonly machine: string
  readonly app: string
  readonly instanceId: string
  readonly generation: number
  readonly state: MachineState
  readonly checks: readonly CheckStatus[]
  /** By index of `config.services`. */
  readonly services: readonly { readonly healthy: boolean; readonly load: 0 | 1 | 2 }[]
  /** New since the last acknowledged report, oldest first; ids make repeats harmless. */
  readonly events: readonly MachineEvent[]
  /** The host has taken everything of it away. */
  readonly gone: boolean
}

/** GET /agent/v1/launch/:machine?instance=...: what a start needs beyond the machine's record. */
export interface LaunchSpec {
  readonly machine: string
  readonly instanceId: string
  /** The app's secrets at `secretsVersion`. */
  readonly secrets: Readonly<Record<string, string>>
  /** sha256 of the artifact (a .tar.gz), for GET /agent/v1/artifacts/:digest. */
  readonly artifact: string
}

/** What the edge tells its agent, as lines on the same unix socket. */
export type EdgeLine =
  | { readonly t: 'hello'; readonly pid: number }
  /** All workers route by the state at `revision`. */
  | { readonly t: 'applied'; readonly revision: number }
  /** A service's bucket of load changed, counted on the machine's own host (L2). */
  | {
      readonly t: 'load'
      readonly machine: string
      readonly service: number
      readonly load: 0 | 1 | 2
    }
  /** A line for the app's log (L14). */
  | { readonly t: 'log'; readonly line: LogLine }

/** Ports that Fairway listens on. */
export const PORTS = {
  /** Machines API, GraphQL; plain HTTP for clients of the API. */
  api: 4280,
  /** Agents follow the control plane here (mutual TLS). */
  agents: 4281,
  /** Edges take requests from other edges here, on the mesh address alone. */
  backhaul: 4290,
  /** The one transparent listener of an edge; the kernel steers every public port to it. */
  edge: 9000,
  /** WireGuard between hosts. */
  mesh: 51_821,
} as const

/** The mesh address of a host: `fdaa:0:0:<index>::1`; no network has id 0. */
export const meshAddress = (hostIndex: number): string => `fdaa:0:0:${hostIndex.toString(16)}::1`
