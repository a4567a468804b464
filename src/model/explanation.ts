import { z } from 'zod'

/**
 * Why a request goes where it goes, as an edge tells it: computed (`fairway route explain`) or of a
 * request that was made (`--live`). JSON in both cases; also the value of the response header
 * `Fairway-Explain`, where the candidates are cut down to what fits.
 */

export const EXPLAIN_HEADER = 'Fairway-Explain'
/** Bytes of the response header's value. */
export const EXPLAIN_HEADER_BYTES_MAX = 4_096
export const EXPLAINED_CANDIDATES_MAX = 32

export const EXPLAINED_OUTCOMES = [
  /** A machine gets it. The others are answered, or reset, by the edge itself. */
  'forward',
  /** No machine can take it now. */
  'wait',
  /** Machines were tried, and none has answered. */
  'failed',
  /** A limit of the service's, or what the client asks for cannot be had: the edge answers. */
  'refused',
  'redirect-to-https',
  'no-address',
  'no-app',
  'no-port',
  /** The port has a handler that needs a certificate. */
  'no-certificate',
  /** The platform's own echo service. */
  'echo',
] as const
export type ExplainedOutcome = (typeof EXPLAINED_OUTCOMES)[number]

const ExplainedCandidate = z.object({
  machine: z.string(),
  host: z.string(),
  region: z.string(),
  state: z.string(),
  distanceMs: z.number(),
  /** Bucket of load (L2): below the soft limit, from there to the hard one, at the hard limit. */
  load: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  /** Requests or connections in flight; only the machine's own host knows. */
  inFlight: z.number().nullable(),
  /** Why it is not chosen whatever the others are; null when it can be. */
  refused: z.string().nullable(),
  /** Chosen only for want of another: it or its host could not be reached a moment ago. */
  isLastResort: z.boolean(),
  /** It fails requests, and gets none for a while unless there is nobody else. */
  isEjected: z.boolean(),
})
export type ExplainedCandidate = z.infer<typeof ExplainedCandidate>

/** Milliseconds count from the request's head. */
const ExplainedAttempt = z.object({
  machine: z.string(),
  host: z.string(),
  isRemote: z.boolean(),
  sentMs: z.number(),
  acceptedMs: z.number().nullable(),
  endedMs: z.number().nullable(),
  /** 0: no response. */
  status: z.number(),
  code: z.string(),
  reason: z.string(),
})
export type ExplainedAttempt = z.infer<typeof ExplainedAttempt>

const ExplainedRequest = z.object({
  requestId: z.string(),
  attempts: z.array(ExplainedAttempt).readonly(),
  attemptCount: z.number(),
  waits: z.array(z.object({ reason: z.string(), ms: z.number() })).readonly(),
  /** Milliseconds from the request's head to the response's. */
  ms: z.number(),
  status: z.number(),
  /** L14, when the edge answered in place of the app. */
  code: z.string(),
})
export type ExplainedRequest = z.infer<typeof ExplainedRequest>

export const Explanation = z.object({
  edge: z.object({ host: z.string(), region: z.string(), revision: z.number() }),
  address: z.object({
    ip: z.string(),
    port: z.number(),
    /** `none`: nobody's, or parked. */
    kind: z.enum(['dedicated', 'shared', 'none']),
  }),
  /** What the listener does with the connection before it asks for a route. */
  listener: z.object({ handlers: z.array(z.string()).readonly() }).nullable(),
  route: z.object({ app: z.string(), port: z.number(), forceHttps: z.boolean() }).nullable(),
  outcome: z.enum(EXPLAINED_OUTCOMES),
  /** Machines of the route, best first; at most EXPLAINED_CANDIDATES_MAX. */
  candidates: z.array(ExplainedCandidate).readonly(),
  candidatesOmitted: z.number(),
  chosen: z
    .object({ machine: z.string(), host: z.string(), region: z.string(), why: z.string() })
    .nullable(),
  /** Only of a request that was made. */
  live: ExplainedRequest.nullable(),
})
export type Explanation = z.infer<typeof Explanation>
