import type { ExplainedCandidate, Explanation } from '../../model/explanation.ts'
import { EXPLAINED_CANDIDATES_MAX } from '../../model/explanation.ts'
import type { RefusalReason, Standing } from '../balance/balancer.ts'

/** How the candidates of a route stood when a machine was chosen among them, in words. */

const REFUSED: Readonly<Partial<Record<RefusalReason, string>>> = {
  none: 'its host is not known here',
  starting: 'it is starting',
  down: 'it could not be reached a moment ago, or a check fails',
  'hard-limit': 'it is at its hard limit',
  unwanted: 'the request asks for others only',
}

export function explainedCandidates(
  standings: readonly Standing[],
): Pick<Explanation, 'candidates' | 'candidatesOmitted'> {
  const shown = standings.slice(0, EXPLAINED_CANDIDATES_MAX)
  return {
    candidates: shown.map(explained),
    candidatesOmitted: standings.length - shown.length,
  }
}

function explained(standing: Standing): ExplainedCandidate {
  const { endpoint } = standing.candidate
  return {
    ...{ machine: endpoint.machine, host: endpoint.host, region: endpoint.region },
    ...{ state: endpoint.state, distanceMs: standing.distanceMs, load: standing.bucket },
    ...{ inFlight: standing.inFlight, isLastResort: standing.isLastResort },
    isEjected: standing.isEjected,
    refused: standing.refused === null ? null : whyRefused(standing),
  }
}

function whyRefused({ refused, candidate: { endpoint, service } }: Standing): string {
  if (refused === 'unwanted') return REFUSED.unwanted!
  if (endpoint.cordoned) return 'it is cordoned'
  if (refused === 'unavailable') return `it is ${endpoint.state}`
  if (refused === 'down' && !endpoint.services[service]?.healthy) return 'a check fails'
  return REFUSED[refused!] ?? refused!
}

/** Why this machine and not another; `host`: the edge's own. */
export function whyChosen(standings: readonly Standing[], machine: string, host: string): string {
  const own = standings.find(({ candidate }) => candidate.endpoint.machine === machine)
  if (!own) return 'it was not among the candidates when the request came'
  if (own.refused !== null) return `the others had failed by then, although ${whyRefused(own)}`
  const able = standings.filter(({ refused }) => refused === null)
  const { region } = own.candidate.endpoint
  const reasons = [placeOf(own, able, region), loadOf(own, able)]
  if (able.some(({ rank }) => rank > own.rank))
    reasons.unshift('nearest to what the request asks for')
  const near = able.filter((other) => isLike(own, other))
  const isOwnHost = own.candidate.endpoint.host === host
  if (isOwnHost && near.some(({ candidate }) => candidate.endpoint.host !== host))
    reasons.push("on this edge's own host")
  const equals = able.filter(({ score }) => score === own.score).length
  if (equals > 1) reasons.push(`one of ${equals} that are equal, at random`)
  if (own.isEjected) reasons.push('a last resort: it fails requests')
  else if (own.isLastResort)
    reasons.push('a last resort: it or its host could not be reached lately')
  const nearer = standings.filter((s) => s.refused !== null && s.distanceMs < own.distanceMs)
  if (nearer.length > 0) reasons.push(`nearer ones cannot take it: ${counted(nearer)}`)
  if (able[0]!.score < own.score) reasons.push('after better ones had failed')
  return reasons.join('; ')
}

const isLike = (a: Standing, b: Standing): boolean =>
  a.distanceMs === b.distanceMs && a.bucket === b.bucket && a.isLastResort === b.isLastResort

function placeOf(own: Standing, able: readonly Standing[], region: string): string {
  const away = own.distanceMs === 0 ? "in the edge's region" : `${own.distanceMs} ms away`
  const isNearest = able.every(({ distanceMs }) => distanceMs >= own.distanceMs)
  return `${isNearest ? 'nearest ' : ''}region ${region} (${away})`
}

const LOADS = ['below its soft limit', 'at or above its soft limit', 'at its hard limit'] as const

function loadOf(own: Standing, able: readonly Standing[]): string {
  const busier = able.filter((s) => s.distanceMs === own.distanceMs && s.bucket > own.bucket)
  return busier.length > 0
    ? `${LOADS[own.bucket]}, unlike ${busier.length} there`
    : LOADS[own.bucket]
}

/** `2 because it is stopped, 1 because it is cordoned`. */
function counted(standings: readonly Standing[]): string {
  const byReason = new Map<string, number>()
  for (const standing of standings) {
    const why = whyRefused(standing)
    byReason.set(why, (byReason.get(why) ?? 0) + 1)
  }
  return [...byReason].map(([why, n]) => `${n} because ${why}`).join(', ')
}
