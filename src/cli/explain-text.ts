import type {
  ExplainedAttempt,
  ExplainedCandidate,
  ExplainedOutcome,
  ExplainedRequest,
  Explanation,
} from '../model/explanation.ts'
import type { LiveAnswer } from './live-request.ts'
import { table, vertical } from './output.ts'

/** An explanation for whoever has to read it at night. */

const OUTCOMES: Readonly<Record<ExplainedOutcome, string>> = {
  forward: '',
  wait: 'nowhere now: no machine can take it; it would wait, then be answered 503',
  refused: 'nowhere: the edge refused it, as the answer says',
  failed: 'nowhere: every machine that was tried failed',
  'redirect-to-https': 'nowhere: the port has force_https, so it is answered 301 to https://',
  'no-address': 'nowhere: the address belongs to no app (or is parked); the connection is reset',
  'no-app': 'nowhere: no app of this name answers on the shared address; it is answered 404',
  'no-port': 'nowhere: no service of the app exposes the port; the connection is reset',
  'no-certificate':
    'nowhere: the port has the handler tls, and there are no certificates yet; it is reset',
  echo: "the edge's own echo service",
}
const KINDS = {
  dedicated: "dedicated: it is the app's, whatever the Host header says",
  shared: 'shared: the Host header names the app',
  none: "nobody's",
} as const
const LOADS = ['below soft limit', 'above soft limit', 'at hard limit'] as const

export function explanationText(url: string, explanation: Explanation): string {
  const { edge, address, listener, route, outcome, chosen, live } = explanation
  const rows: [string, string][] = [
    ['Edge', `${edge.host} in ${edge.region}, revision ${edge.revision}`],
    ['Address', `${address.ip} port ${address.port}, ${KINDS[address.kind]}`],
  ]
  if (listener) rows.push(['Listener', listener.handlers.join(', ') || 'raw TCP'])
  if (route) rows.push(['Route', `app ${route.app}, port ${route.port}`])
  rows.push([
    live ? 'Went to' : 'Goes to',
    chosen
      ? `machine ${chosen.machine} in ${chosen.region} on host ${chosen.host}`
      : OUTCOMES[outcome],
  ])
  if (chosen) rows.push(['Because', chosen.why])
  if (live) rows.push(...liveRows(live))
  return vertical(url, rows) + attemptsText(live) + candidatesText(explanation)
}

function liveRows(live: ExplainedRequest): [string, string][] {
  const code = live.code === '' ? '' : ` (${live.code}, from the edge; see docs/errors.md)`
  const waits = live.waits.map(({ reason, ms }) => `${msText(ms)} because of ${reason}`)
  return [
    ['Request', live.requestId],
    ['Answer', `${live.status}${code}, ${msText(live.ms)} after the request's head`],
    ...(waits.length > 0 ? [['Waited', waits.join(', ')] as [string, string]] : []),
  ]
}

function attemptsText(live: ExplainedRequest | null): string {
  if (!live || live.attempts.length === 0) return ''
  const rows = live.attempts.map((attempt, i) => [
    i === live.attempts.length - 1 ? live.attemptCount : i + 1,
    attempt.machine,
    attempt.isRemote ? `the edge of ${attempt.host}` : 'directly',
    msText(attempt.sentMs),
    msText(attempt.acceptedMs),
    msText(attempt.endedMs),
    resultText(attempt),
  ])
  return table(['Attempt', 'Machine', 'Via', 'Sent', 'Taken', 'Ended', 'Result'], rows)
}

const resultText = ({ status, code, reason }: ExplainedAttempt): string =>
  code !== '' ? `${code}: ${reason}` : status > 0 ? `answered ${status}` : 'under way'

function candidatesText({ candidates, candidatesOmitted, chosen }: Explanation): string {
  if (candidates.length === 0) return ''
  const rows = candidates.map((candidate) => [
    candidate.machine,
    candidate.region,
    candidate.host,
    candidate.state,
    `${candidate.distanceMs} ms`,
    loadText(candidate),
    verdictOf(candidate, chosen?.machine),
  ])
  const omitted = candidatesOmitted > 0 ? `and ${candidatesOmitted} more\n\n` : ''
  const head = ['Machine', 'Region', 'Host', 'State', 'Distance', 'Load', 'Can take it']
  return table(head, rows) + omitted
}

const loadText = ({ load, inFlight }: ExplainedCandidate): string =>
  inFlight === null ? LOADS[load] : `${LOADS[load]} (${inFlight} in flight)`

function verdictOf(candidate: ExplainedCandidate, chosen: string | undefined): string {
  const verdict = candidate.refused === null ? 'yes' : `no: ${candidate.refused}`
  const last = candidate.isEjected
    ? ', but it fails requests and is left alone for a while'
    : candidate.isLastResort
      ? ', as a last resort'
      : ''
  return verdict + last + (candidate.machine === chosen ? '  <- chosen' : '')
}

/** What the client saw of a request that was made. */
export function clientText(client: LiveAnswer): string {
  if (client.error !== null && client.connectMs === null)
    return `Client: no connection (${client.error}).\n`
  const steps = [
    `connected to ${client.address} after ${msText(client.connectMs)}`,
    client.error === null
      ? `answered ${client.status} after ${msText(client.firstByteMs)}`
      : `then no answer (${client.error})`,
  ]
  if (client.lookupMs !== null) steps.unshift(`name resolved after ${msText(client.lookupMs)}`)
  return `Client: ${steps.join(', ')}.\n`
}

const msText = (ms: number | null): string => (ms === null ? '-' : `${ms.toFixed(1)} ms`)
