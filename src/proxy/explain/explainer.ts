import type { ExplainedOutcome, Explanation } from '../../model/explanation.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { Standing } from '../balance/balancer.ts'
import type { Steering } from '../balance/steering.ts'
import type { ProxyContext } from '../context.ts'
import { receptionOf } from '../listener/listener.ts'
import { explainedCandidates, whyChosen } from './candidates.ts'

export interface ExplainQuestion {
  /** As the connection would come in: an address of the platform, and its port. */
  readonly address: string
  readonly port: number
  /** The Host header. */
  readonly host: string
}

/** What this edge would do with a request at this moment; nothing is sent. */
export function explain(ctx: ProxyContext, question: ExplainQuestion): Explanation {
  const reception = receptionOf(ctx, question.address, question.port)
  if (reception.how === 'reset') return stopped(ctx, question, null, reception.why)
  if (reception.how !== 'http') {
    const { route } = reception
    if (reception.how === 'no-certificate') return stopped(ctx, question, route, 'no-certificate')
    return forwarded(ctx, question, route)
  }
  const route = reception.resolver.resolve(question.host)
  if (typeof route === 'string') return stopped(ctx, question, null, route)
  if (route.forceHttps) return stopped(ctx, question, route, 'redirect-to-https')
  return forwarded(ctx, question, route)
}

/** What an explanation of any request begins with. */
export function explanationStart(
  { view, host, region }: ProxyContext,
  { address, port }: { readonly address: string; readonly port: number },
  route: PortRoute | null,
): Pick<Explanation, 'edge' | 'address' | 'listener' | 'route'> {
  const owner = view.address(address)
  const kind = owner === undefined ? 'none' : owner.kind === 'shared' ? 'shared' : 'dedicated'
  return {
    edge: { host, region, revision: view.revision },
    address: { ip: address, port, kind },
    listener: route && { handlers: route.handlers },
    route: route && { app: route.app, port: route.port, forceHttps: route.forceHttps },
  }
}

export const standingsOf = (
  { balancer }: ProxyContext,
  route: PortRoute,
  steering: Steering | null = null,
): readonly Standing[] => balancer.explain(route, { exclude: null, machine: null, steering })

function forwarded(ctx: ProxyContext, question: ExplainQuestion, route: PortRoute): Explanation {
  const standings = standingsOf(ctx, route)
  const first = standings[0]?.refused === null ? standings[0].candidate.endpoint : null
  return {
    ...explanationStart(ctx, question, route),
    ...{ outcome: first ? 'forward' : 'wait', ...explainedCandidates(standings) },
    chosen: first && {
      ...{ machine: first.machine, host: first.host, region: first.region },
      why: whyChosen(standings, first.machine, ctx.host),
    },
    live: null,
  }
}

function stopped(
  ctx: ProxyContext,
  question: ExplainQuestion,
  route: PortRoute | null,
  outcome: ExplainedOutcome,
): Explanation {
  return {
    ...{ ...explanationStart(ctx, question, route), outcome, candidates: [] },
    ...{ candidatesOmitted: 0, chosen: null, live: null },
  }
}
