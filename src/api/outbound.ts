import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import { outboundUrl, rotateOutbound } from '../control/outbound/credentials.ts'
import {
  adjustOutbound,
  createOutbound,
  destroyOutbound,
  listOutbound,
  type OutboundIssued,
  type OutboundView,
  showOutbound,
} from '../control/outbound/outbound.ts'
import { EgressBlock, EgressPair, OutboundProxy } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { type Api, Time } from './routes.ts'

/** Outbound proxies (docs/outbound.md). A secret is in the answer that made it, and nowhere else. */

const orgPath = z.object({ slug: z.string().min(1).max(128) })
const onePath = orgPath.extend({ id: z.string().min(1).max(64) })
const allow = z.array(z.string().min(1).max(300))
const limits = OutboundProxy.shape.limits.partial().strict()

const createBody = z.looseObject({
  name: z.string().min(1).max(64),
  allow: allow.optional(),
  limits: limits.optional(),
})
const adjustBody = z.looseObject({ allow: allow.optional(), limits: limits.optional() })
const rotateBody = z.looseObject({
  keep_seconds: z.number().int().min(0).optional(),
  app: z.string().min(1).max(128).optional(),
  secret_name: z.string().min(1).max(128).optional(),
})

const BASE = '/api/v1/orgs/:slug/outbound_proxies'
const ONE = `${BASE}/:id`

const ProxyObject = z
  .object({
    id: z.string(),
    name: z.string(),
    org: z.string(),
    pairs: z.array(
      EgressPair.pick({ id: true, v4: true, v6: true, state: true }).extend({
        hosts: z.array(EgressBlock.pick({ host: true, slot: true, count: true })),
      }),
    ),
    credentials: z.array(
      z.object({ name: z.string(), created_at: Time, expires_at: Time.nullable() }),
    ),
    limits: OutboundProxy.shape.limits,
    allow: OutboundProxy.shape.allow,
    secret: OutboundProxy.shape.secret,
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: 'OutboundProxy' })
const Issued = z
  .object({
    outbound_proxy: ProxyObject,
    urls: z.object({ http: z.string(), socks5h: z.string(), https: z.string() }),
    waiting: z.array(z.string()),
  })
  .meta({ id: 'OutboundProxyIssued' })

const tag = 'Outbound proxies'
const LIST = {
  tag,
  summary: 'Outbound proxies of an organization',
  params: orgPath,
  response: { 200: z.object({ outbound_proxies: z.array(ProxyObject) }) },
} as const
const CREATE = {
  tag,
  summary: 'Creates an outbound proxy; its URLs, with the secret, are in this answer alone',
  params: orgPath,
  body: createBody,
  response: { 200: Issued },
} as const
const GET = {
  tag,
  summary: 'One outbound proxy',
  params: onePath,
  response: { 200: z.object({ outbound_proxy: ProxyObject }) },
} as const
const DESTROY = { ...GET, summary: 'Destroys an outbound proxy' } as const
const ADJUST = { ...GET, summary: 'Changes what it allows', body: adjustBody } as const
const ROTATE = {
  tag,
  summary: 'Issues a new credential; the old ones go on for keep_seconds',
  params: onePath,
  body: rotateBody,
  response: { 200: Issued },
} as const

const targetOf = ({ slug, id }: z.output<typeof onePath>) => ({ org: slug, id })

export function registerOutbound(api: Api, context: ApiContext): void {
  api.get(BASE, { schema: LIST }, async ({ actor, params }) => {
    const views = await listOutbound(context, actor, params.slug)
    return { outbound_proxies: views.map(viewObject) }
  })
  api.post(BASE, { schema: CREATE }, async ({ actor, params, body }) => {
    const { name, allow, limits } = body
    const input = { org: params.slug, name, allow, limits }
    return issuedObject(context, await createOutbound(context, actor, input))
  })
  api.get(ONE, { schema: GET }, async ({ actor, params }) => ({
    outbound_proxy: viewObject(await showOutbound(context, actor, targetOf(params))),
  }))
  api.delete(ONE, { schema: DESTROY }, async ({ actor, params }) => ({
    outbound_proxy: viewObject(await destroyOutbound(context, actor, targetOf(params))),
  }))
  api.patch(ONE, { schema: ADJUST }, async ({ actor, params, body }) => {
    const { allow, limits } = body
    if (allow === undefined && limits === undefined)
      throw invalid('nothing to change; send allow or limits')
    const input = { ...targetOf(params), allow, limits }
    return { outbound_proxy: viewObject(await adjustOutbound(context, actor, input)) }
  })
  api.post(`${ONE}/credentials`, { schema: ROTATE }, async ({ actor, params, body }) => {
    const { keep_seconds, app: name, secret_name } = body
    if (secret_name !== undefined && name === undefined)
      throw invalid('secret_name: app is missing; name the app whose secret it is')
    const issued = await rotateOutbound(context, actor, {
      ...targetOf(params),
      keepMs: keep_seconds === undefined ? undefined : keep_seconds * 1_000,
      secret: name === undefined ? undefined : { app: name, name: secret_name },
    })
    return issuedObject(context, issued)
  })
}

const issuedObject = (context: ApiContext, view: OutboundIssued) => ({
  outbound_proxy: viewObject(view),
  urls: {
    http: outboundUrl(context, view.issued),
    socks5h: outboundUrl(context, view.issued, 'socks5h'),
    https: outboundUrl(context, view.issued, 'https'),
  },
  waiting: view.waiting,
})

function viewObject({ proxy, pairs }: OutboundView) {
  return {
    ...{ id: proxy.id, name: proxy.name, org: proxy.org },
    pairs: pairs.map(pairObject),
    credentials: proxy.credentials.map(({ name, createdAt, expiresAt }) => ({
      ...{ name, created_at: createdAt, expires_at: expiresAt },
    })),
    ...{ limits: proxy.limits, allow: proxy.allow, secret: proxy.secret },
    ...{ created_at: proxy.createdAt, updated_at: proxy.updatedAt },
  }
}

const pairObject = ({ id, v4, v6, state, blocks }: EgressPair) => ({
  ...{ id, v4, v6, state },
  hosts: blocks.map(({ host, slot, count }) => ({ host, slot, count })),
})
