import { z } from 'zod'
import { isoTime } from '../base/clock.ts'
import { FairwayError, invalid } from '../base/errors.ts'
import { explainTarget, grantExplain } from '../control/explain.ts'
import { Explanation } from '../model/explanation.ts'
import type { Host } from '../model/resources.ts'
import type { AgentCallFailed } from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { closedSignal } from './machine-path.ts'
import { type Api, Time } from './routes.ts'

/** Explanations of requests (docs/observability.md): an edge is asked, in a region or the one that is named. */

const EXPLAIN_TIMEOUT_MS = 5_000
/** Of the edges that could answer; one that does not is passed over. */
const EDGES_TRIED_MAX = 3

const EXPLAIN = {
  tag: 'Explanations',
  summary: 'What an edge would do with a request to a URL, and why',
  body: z.looseObject({
    url: z.string().min(1).max(2_048),
    /** Code of a region, or id of a host. */
    from: z.string().min(1).max(64).optional(),
    address: z.string().min(2).max(64).optional(),
  }),
  response: { 200: z.object({ explanation: Explanation.meta({ id: 'Explanation' }) }) },
} as const
const TOKEN = {
  tag: 'Explanations',
  summary: 'A token by which edges explain requests to the app that show it',
  params: appPath,
  response: {
    200: z.object({ token: z.string(), expires_at: Time, hosts_waiting: z.array(z.string()) }),
  },
} as const

export function registerExplain(api: Api, context: ApiContext): void {
  api.post('/api/v1/route_explain', { schema: EXPLAIN }, async (request, reply) => {
    const { url, from, address } = request.body
    const target = await explainTarget(context, request.actor, url, address)
    const signal = AbortSignal.any([closedSignal(reply), AbortSignal.timeout(EXPLAIN_TIMEOUT_MS)])
    const { app, ...question } = target
    const explanation = await ask(context, edgesFrom(context, from), question, signal)
    // Who may see the app was asked above; the edge must not tell of another.
    if (explanation.route !== null && explanation.route.app !== app.name)
      throw new FairwayError('conflict', 'the address has just moved to another app; ask again', {
        status: 409,
      })
    return { explanation }
  })

  api.post('/api/v1/apps/:app/explain_tokens', { schema: TOKEN }, async (request) => {
    const { app } = request.params
    const { token, expiresAtMs, revision } = await grantExplain(context, request.actor, app)
    const { waiting } = await context.edges.waitFor(revision, context.config.attachWaitMs)
    return { token, expires_at: isoTime(expiresAtMs), hosts_waiting: waiting }
  })
}

/** Live hosts, the nearest to `from` first. */
function edgesFrom({ fleet }: ApiContext, from: string | undefined): Host[] {
  const live = fleet.liveRecords()
  if (from === undefined) return live
  const host = live.find(({ id }) => id === from)
  if (host) return [host]
  const region = fleet.regions().find(({ code }) => code === from)
  if (!region) {
    const codes = fleet.regions().map(({ code }) => code)
    throw invalid(`from: "${from}" is neither a region (${codes.join(', ')}) nor a live host`)
  }
  const distance = (to: string) => (to === from ? 0 : (region.distancesMs[to] ?? Infinity))
  return live.sort((a, b) => distance(a.region) - distance(b.region))
}

const NOT_UNDERSTOOD = {
  code: 'edge_unreachable',
  message: 'the host gave an answer that is no explanation',
}

async function ask(
  { calls }: ApiContext,
  hosts: readonly Host[],
  question: { readonly address: string; readonly port: number; readonly host: string },
  signal: AbortSignal,
): Promise<Explanation> {
  let last: FairwayError = new FairwayError('host_unreachable', 'no host is live', { status: 412 })
  for (const { id } of hosts.slice(0, EDGES_TRIED_MAX)) {
    try {
      for await (const line of calls.call(id, { method: 'route-explain', ...question }, signal)) {
        const explanation = Explanation.safeParse(line)
        if (explanation.success) return explanation.data
        const { code, message } = (line as Partial<AgentCallFailed>).error ?? NOT_UNDERSTOOD
        last = new FairwayError(code, message, { status: 412 })
      }
    } catch (error) {
      if (!(error instanceof FairwayError)) throw error
      last = error
    }
  }
  throw last
}
