import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { isoTime } from '../base/clock.ts'
import { FairwayError, invalid } from '../base/errors.ts'
import { explainTarget, grantExplain } from '../control/explain.ts'
import type { Explanation } from '../model/explanation.ts'
import type { Host } from '../model/resources.ts'
import type { AgentCallFailed } from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput } from './input.ts'
import { closedSignal } from './machine-path.ts'

/** Explanations of requests (docs/observability.md): an edge is asked, in a region or the one that is named. */

const EXPLAIN_TIMEOUT_MS = 5_000
/** Of the edges that could answer; one that does not is passed over. */
const EDGES_TRIED_MAX = 3

const explainBody = z.looseObject({
  url: z.string().min(1).max(2_048),
  /** Code of a region, or id of a host. */
  from: z.string().min(1).max(64).optional(),
  address: z.string().min(2).max(64).optional(),
})

export function registerExplain(api: FastifyInstance, context: ApiContext): void {
  api.post('/api/v1/route_explain', async (request, reply) => {
    const { url, from, address } = parseInput(explainBody, request.body, 'body')
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

  api.post('/api/v1/apps/:app/explain_tokens', async (request) => {
    const { app } = parseInput(appPath, request.params, 'path')
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
        const answer = line as Explanation | AgentCallFailed
        if (!('error' in answer)) return answer
        last = new FairwayError(answer.error.code, answer.error.message, { status: 412 })
      }
    } catch (error) {
      if (!(error instanceof FairwayError)) throw error
      last = error
    }
  }
  throw last
}
