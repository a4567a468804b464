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
  /** Answered by ExecLine: what the command prints as it comes, then how it ended. */
  | {
      readonly method: 'exec'
      readonly machine: string
      readonly command: readonly string[]
      /** Given to the command's standard input, which then ends. */
      readonly stdin: string
      readonly timeoutMs: number
    }
  /** Machines of the host with a static source; of one app when it is named. Answered by EgressUsage lines, or AgentCallFailed. */
  | { readonly method: 'egress-usage'; readonly app?: string }
  /** Opens connections from a machine's namespace. Answered by an EgressCheck, or AgentCallFailed. */
  | {
      readonly method: 'egress-check'
      readonly machine: string
      readonly host: string
      readonly port: number
      readonly timeoutMs: number
    }
  /** What the host's edge would do with a request. Answered by an Explanation, or AgentCallFailed. */
  | {
      readonly method: 'route-explain'
      readonly address: string
      readonly port: number
      readonly host: string
    }

/** The one line of an answer to a call that could not be given. */
export interface AgentCallFailed {
  readonly error: { readonly code: string; readonly message: string }
}

export type ExecLine =
  /** base64: output is bytes. */
  { readonly t: 'stdout' | 'stderr'; readonly data: string } | ExecEnd

/** How a command ended: `code` 128 + `signal` when a signal ended it; `signal` 0 when none did. */
export interface ExecEnd {
  readonly t: 'exit'
  readonly code: number
  readonly signal: number
  /** Why `code` is not the command's own. */
  readonly error?: ExecError
  readonly message?: string
}
export const EXEC_ERRORS = [
  'machine_not_started',
  'machine_stopped',
  'command_not_found',
  'exec_timeout',
  'exec_failed',
  'busy',
] as const
export type ExecError = (typeof EXEC_ERRORS)[number]

export const EXEC_TIMEOUT_DEFAULT_MS = 60_000
export const EXEC_TIMEOUT_MAX_MS = 3_600_000
/** What one command may be given on its standard input. */
export const EXEC_STDIN_BYTES_MAX = 256 * 1024
/** Words of a command with all their bytes. */
export const EXEC_COMMAND_BYTES_MAX = 64 * 1024

/** A machine's static source as its host's kernel uses it. TCP and UDP; what lingers is not in use. */
export interface EgressUsage {
  readonly machine: string
  readonly app: string
  readonly host: string
  readonly region: string
  readonly pair: string
  readonly v4: string | null
  readonly v6: string | null
  /** First of `count` slots. */
  readonly slot: number
  readonly count: number
  /** Connections to one destination that the block has room for. */
  readonly ports: number
  /** Connections over all destinations: these have no limit. */
  readonly total: number
  /** Those that still leave from another source, which the machine had before. */
  readonly elsewhere: number
  /** Ports in use to the destination that uses most: now, and the most since the agent's start. */
  readonly inUse: number
  readonly peak: number
  /** The busiest, at most EGRESS_DESTINATIONS_MAX of `destinationCount`. */
  readonly destinations: readonly EgressDestination[]
  readonly destinationCount: number
  /** How often a destination was found to have taken every port, since the agent's start. */
  readonly exhausted: number
  /** Packets of the machine that were dropped, by reason, where the kernel counts by machine. */
  readonly dropped: Readonly<Record<string, number>>
  /** ISO time of the look at the kernel. */
  readonly sampledAt: string
}

export interface EgressDestination {
  readonly address: string
  readonly port: number
  readonly proto: 'tcp' | 'udp'
  readonly inUse: number
  readonly peak: number
}
export const EGRESS_DESTINATIONS_MAX = 32

/** What became of connections from a machine to `host:port`, one for each family of the name. */
export interface EgressCheck {
  readonly machine: string
  readonly region: string
  readonly checkHost: string
  readonly results: readonly EgressCheckResult[]
}

export interface EgressCheckResult {
  readonly family: 4 | 6
  /** The destination's address; null when the name has none of the family. */
  readonly remote: string | null
  /** What left the host, from the kernel's translation; null when no connection was made. */
  readonly source: string | null
  readonly sourcePort: number | null
  /** The address that the far end says it saw; null unless it is the platform's own echo service. */
  readonly seenByFarEnd: string | null
  /** The machine's static address; null: default egress, whatever that is. */
  readonly expected: string | null
  /** `source`, and what the far end saw, are as expected. Null when there is nothing to compare. */
  readonly ok: boolean | null
  /** Least of a few connections, from the machine and from its host's own default path. */
  readonly connectMs: number | null
  readonly connectDefaultMs: number | null
  readonly error: { readonly reason: EgressCheckReason; readonly message: string } | null
}

export type EgressCheckReason =
  | 'no_address'
  | 'refused'
  | 'timeout'
  | 'unreachable'
  /** EADDRNOTAVAIL: every port of the block is in use to this destination. */
  | 'block_full'
  | 'reset'
  | 'name'
  | 'failed'

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

/** Drained blocks that one report may name; the others come with later ones. */
export const EGRESS_DRAINED_MAX = 4_096

/** POST /agent/v1/report: also the host's sign of life, at least every REPORT_INTERVAL_MS. */
export interface HostReport {
  readonly host: string
  readonly meshPublicKey: string
  /** Revision up to which the host's edge routes; null while there is no edge. */
  readonly edgeRevision: number | null
  /** Revision up to which the kernel steers and translates egress; null while it cannot tell. */
  readonly egressRevision: number | null
  /** Blocks in state `drain` of this host that no flow uses any more. */
  readonly egressDrained: readonly { readonly pair: string; readonly slot: number }[]
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
  /** Why the machine's egress is closed; null when it is as its record says. */
  readonly egressProblem: string | null
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
  /** The transparent listener of the outbound proxy. */
  outbound: 9001,
  /** What clients of the outbound proxy connect to: HTTP, SOCKS5, and HTTP within TLS. */
  outboundHttp: 9293,
  outboundSocks: 1080,
  outboundTls: 9294,
  /** WireGuard between hosts. */
  mesh: 51_821,
  /** VXLAN-GPE between hosts, inside the mesh: return traffic on its way to the host that translates. */
  overlay: 4790,
} as const

/** The mesh address of a host: `fdaa:0:0:<index>::1`; no network has id 0. */
export const meshAddress = (hostIndex: number): string => `fdaa:0:0:${hostIndex.toString(16)}::1`
