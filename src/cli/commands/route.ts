import { join } from 'node:path'
import type { Command } from 'commander'
import { FairwayError } from '../../base/errors.ts'
import type { Explanation } from '../../model/explanation.ts'
import { usage } from '../errors.ts'
import { clientText, explanationText } from '../explain-text.ts'
import type { Io } from '../io.ts'
import { type LiveAnswer, type LiveQuestion, liveRequest } from '../live-request.ts'
import { withExamples } from '../options.ts'
import { outputAtPlace } from '../place.ts'
import { action, type Session } from '../session.ts'

interface ExplainFlags {
  readonly from?: string
  readonly address?: string
  readonly live?: boolean
  readonly timeout: string
}

const TIMEOUT_SECONDS_MAX = 600
/** For the process at the place to start and end. */
const PLACE_MARGIN_MS = 10_000

export function registerRoute(program: Command, io: Io): void {
  const route = program.command('route').description('Why requests go where they go')
  const command = route
    .command('explain <url>')
    .summary('Explain where a request to a URL goes, and why')
    .description(
      'Ask an edge where a request to this URL would go, and why: address, listener, route, candidates. ' +
        'With --live a real request is made, and the edge tells what it did with it.',
    )
    .option('--from <place>', 'a region, a host, or a client of the small internet (client-lhr)')
    .option(
      '--address <ip>',
      'go in by this address of the app (else as clients do, by IPv6 first)',
    )
    .option('--live', 'make the request (GET) and show each attempt with its times and codes')
    .option('--timeout <seconds>', 'how long the request may take', '30')
    .action(action(io, explain))
  withExamples(command, [
    ['fairway route explain http://hello.fairway.test/', 'from any region'],
    ['fairway route explain http://hello.fairway.test/ --from client-lhr', 'from London'],
    ['fairway route explain http://hello.fairway.test/ --from client-lhr --live', 'really'],
  ])
}

async function explain(session: Session, url: string, flags: ExplainFlags): Promise<void> {
  const { from, address } = flags
  if (flags.live) return explainLive(session, url, flags)
  const where = from === undefined ? {} : { from: from.replace(/^(client|host)-/, '') }
  const asked = session.client.post<{ explanation: Explanation }>('/api/v1/route_explain', {
    ...{ url, ...where, ...(address === undefined ? {} : { address }) },
  })
  const { explanation } = await session.during('Asking an edge', asked)
  if (session.wantsJson) session.printJson({ explanation, client: null })
  else session.print(explanationText(url, explanation))
}

async function explainLive(session: Session, url: string, flags: ExplainFlags): Promise<void> {
  const parsed = URL.parse(url)
  if (parsed?.protocol !== 'http:')
    throw usage(`"${url}" is not http://... : a request that is made needs a URL of plain HTTP.`)
  const timeoutMs = timeoutOf(flags.timeout)
  const app = session.options.app ?? (await appOf(session, url, flags.address))
  const { token, hosts_waiting: waiting } = await session.client.post<{
    token: string
    hosts_waiting: readonly string[]
  }>(`/api/v1/apps/${encodeURIComponent(app)}/explain_tokens`)
  if (waiting.length > 0)
    session.note(`Warning: these hosts may not know the token yet: ${waiting.join(', ')}`)
  const question = { url, token, address: flags.address ?? null, timeoutMs }
  const making = flags.from === undefined ? liveRequest(question) : requestAt(flags.from, question)
  const { explanation: text, ...client } = await session.during('Making the request', making)
  const explanation = text === null ? null : parsedExplanation(text)
  if (session.wantsJson) session.printJson({ explanation, client })
  else {
    if (explanation) session.print(explanationText(url, explanation))
    session.print(clientText({ ...client, explanation: text }))
  }
  if (explanation) return
  throw new FairwayError(
    'not_explained',
    `No edge has explained the request${client.status === null ? '' : ` (it was answered ${client.status})`}. ` +
      `What an edge would do with it: fairway route explain ${url}`,
  )
}

/** Whose URL it is: an edge knows. */
async function appOf(session: Session, url: string, address?: string): Promise<string> {
  const body = { url, ...(address === undefined ? {} : { address }) }
  const { explanation } = await session.client.post<{ explanation: Explanation }>(
    '/api/v1/route_explain',
    body,
  )
  if (explanation.route) return explanation.route.app
  session.print(explanationText(url, explanation))
  throw new FairwayError('not_explained', `${url} leads to no app, so no request was made.`)
}

function requestAt(from: string, question: LiveQuestion): Promise<LiveAnswer> {
  const place = /^(client|host|router)-|^internet$/.test(from) ? from : `client-${from}`
  const main = join(import.meta.dirname, '..', 'live-main.ts')
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', main]
  const input = JSON.stringify(question)
  return outputAtPlace(place, command, input, question.timeoutMs + PLACE_MARGIN_MS).then(
    (output) => JSON.parse(output) as LiveAnswer,
  )
}

function parsedExplanation(text: string): Explanation {
  try {
    return JSON.parse(text) as Explanation
  } catch {
    throw new FairwayError('bad_answer', 'The Fairway-Explain header of the response is no JSON.')
  }
}

function timeoutOf(text: string): number {
  const seconds = Number(text)
  if (seconds > 0 && seconds <= TIMEOUT_SECONDS_MAX) return seconds * 1_000
  throw usage(`--timeout "${text}" is not a number of seconds up to ${TIMEOUT_SECONDS_MAX}.`)
}
