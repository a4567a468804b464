import {
  EXPLAIN_HEADER,
  EXPLAIN_HEADER_BYTES_MAX,
  type ExplainedAttempt,
  type ExplainedOutcome,
  type Explanation,
} from '../../model/explanation.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { Standing } from '../balance/balancer.ts'
import type { ProxyContext } from '../context.ts'
import { textOf } from '../errors/codes.ts'
import { rounded } from '../observe/access-line.ts'
import type { AttemptRecord, RequestRecord } from '../observe/record.ts'
import { explainedCandidates, whyChosen } from './candidates.ts'
import { explanationStart, standingsOf } from './explainer.ts'

/** What a request that is explained began with: the candidates as they stood before the first claim. */
export interface Explaining {
  readonly start: ReturnType<typeof explanationStart>
  readonly isRedirected: boolean
  /** Anew when it is known what the request asks for. */
  standings: readonly Standing[]
}

export function beginExplaining(
  ctx: ProxyContext,
  origin: { readonly localAddress: string; readonly localPort: number; readonly https: boolean },
  route: PortRoute,
): Explaining {
  const isRedirected = route.forceHttps && !origin.https
  return {
    start: explanationStart(ctx, { address: origin.localAddress, port: origin.localPort }, route),
    isRedirected,
    standings: isRedirected ? [] : standingsOf(ctx, route),
  }
}

/** The response field with all that was done so far, with its CRLF. */
export function explainField(record: RequestRecord, edgeHost: string, now: number): string {
  const explanation = explanationOf(record, edgeHost, now)
  let { candidates, candidatesOmitted } = explanation
  for (;;) {
    const text = ascii(JSON.stringify({ ...explanation, candidates, candidatesOmitted }))
    if (text.length <= EXPLAIN_HEADER_BYTES_MAX) return `${EXPLAIN_HEADER}: ${text}\r\n`
    // Without candidates it fits, as attempts and all texts are bounded.
    if (candidates.length === 0) return ''
    const cut = candidates.length - Math.ceil(candidates.length / 2)
    candidatesOmitted += candidates.length - cut
    candidates = candidates.slice(0, cut)
  }
}

function explanationOf(record: RequestRecord, edgeHost: string, now: number): Explanation {
  const { start, isRedirected, standings } = record.explaining!
  const { beganAt, requestId } = record.request
  const since = (at: number) => rounded(at - beganAt)
  const { last } = record
  const isServed = last !== undefined && last.failure === null
  return {
    ...{ ...start, ...explainedCandidates(standings) },
    outcome: isRedirected ? 'redirect-to-https' : outcomeOf(record),
    chosen: isServed
      ? {
          ...{ machine: last.machine, host: last.host, region: last.region },
          why: whyChosen(standings, last.machine, edgeHost),
        }
      : null,
    live: {
      requestId,
      attempts: shown(record.attempts).map((attempt) => explainedAttempt(attempt, since)),
      attemptCount: record.attemptCount,
      waits: record.waits
        .slice(0, WAITS_SHOWN_MAX)
        .map(({ reason, from, until }) => ({ reason, ms: rounded((until ?? now) - from) })),
      ...{ ms: since(now), status: record.status, code: record.code },
    },
  }
}

function outcomeOf({ last, status }: RequestRecord): ExplainedOutcome {
  if (last) return last.failure === null ? 'forward' : 'failed'
  return status >= 500 ? 'wait' : 'refused'
}

/** Of those in the record, so that they fit into a header. */
const ATTEMPTS_SHOWN_MAX = 8
const WAITS_SHOWN_MAX = 4
const REASON_CHARS_MAX = 80

const shown = (attempts: readonly AttemptRecord[]): readonly AttemptRecord[] =>
  attempts.length <= ATTEMPTS_SHOWN_MAX
    ? attempts
    : [...attempts.slice(0, ATTEMPTS_SHOWN_MAX - 1), attempts.at(-1)!]

function explainedAttempt(
  { machine, host, isRemote, sentAt, acceptedAt, endedAt, status, failure }: AttemptRecord,
  since: (at: number) => number,
): ExplainedAttempt {
  return {
    ...{ machine, host, isRemote, sentMs: since(sentAt), status },
    acceptedMs: acceptedAt === null ? null : since(acceptedAt),
    endedMs: endedAt === null ? null : since(endedAt),
    code: failure?.code ?? '',
    reason: failure ? textOf(failure.code, failure.reason).slice(0, REASON_CHARS_MAX) : '',
  }
}

/** A field value is visible ASCII and spaces, whatever a reason quotes. */
const ascii = (json: string): string =>
  json.replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
