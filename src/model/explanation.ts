/**
 * Why a request goes where it goes, as an edge tells it: computed (`fairway route explain`) or of a
 * request that was made (`--live`). JSON in both cases; also the value of the response header
 * `Fairway-Explain`, where the candidates are cut down to what fits.
 */
export interface Explanation {
  readonly edge: { readonly host: string; readonly region: string; readonly revision: number }
  readonly address: {
    readonly ip: string
    readonly port: number
    /** `none`: nobody's, or parked. */
    readonly kind: 'dedicated' | 'shared' | 'none'
  }
  /** What the listener does with the connection before it asks for a route. */
  readonly listener: { readonly handlers: readonly string[] } | null
  readonly route: {
    readonly app: string
    readonly port: number
    readonly forceHttps: boolean
  } | null
  /** `forward`: a machine gets it. The others are answered, or reset, by the edge itself. */
  readonly outcome: ExplainedOutcome
  /** Machines of the route, best first; at most EXPLAINED_CANDIDATES_MAX. */
  readonly candidates: readonly ExplainedCandidate[]
  readonly candidatesOmitted: number
  readonly chosen: {
    readonly machine: string
    readonly host: string
    readonly region: string
    readonly why: string
  } | null
  /** Only of a request that was made. */
  readonly live: ExplainedRequest | null
}

export type ExplainedOutcome =
  | 'forward'
  /** No machine can take it now. */
  | 'wait'
  /** Machines were tried, and none has answered. */
  | 'failed'
  | 'redirect-to-https'
  | 'no-address'
  | 'no-app'
  | 'no-port'
  /** The port has a handler that needs a certificate. */
  | 'no-certificate'
  /** The platform's own echo service. */
  | 'echo'

export const EXPLAINED_CANDIDATES_MAX = 32

export interface ExplainedCandidate {
  readonly machine: string
  readonly host: string
  readonly region: string
  readonly state: string
  readonly distanceMs: number
  /** Bucket of load (L2): below the soft limit, from there to the hard one, at the hard limit. */
  readonly load: 0 | 1 | 2
  /** Requests or connections in flight; only the machine's own host knows. */
  readonly inFlight: number | null
  /** Why it is not chosen whatever the others are; null when it can be. */
  readonly refused: string | null
  /** Chosen only for want of another: it or its host could not be reached a moment ago. */
  readonly isLastResort: boolean
}

export interface ExplainedRequest {
  readonly requestId: string
  readonly attempts: readonly ExplainedAttempt[]
  readonly attemptCount: number
  readonly waits: readonly { readonly reason: string; readonly ms: number | null }[]
  /** Milliseconds from the request's head to the response's. */
  readonly ms: number
  readonly status: number
  /** L14, when the edge answered in place of the app. */
  readonly code: string
}

/** Milliseconds count from the request's head. */
export interface ExplainedAttempt {
  readonly machine: string
  readonly host: string
  readonly isRemote: boolean
  readonly sentMs: number
  readonly acceptedMs: number | null
  readonly endedMs: number | null
  /** 0: no response. */
  readonly status: number
  readonly code: string
  readonly reason: string
}

export const EXPLAIN_HEADER = 'Fairway-Explain'
/** Bytes of the response header's value. */
export const EXPLAIN_HEADER_BYTES_MAX = 4_096
