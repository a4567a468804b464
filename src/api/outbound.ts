import type { FastifyInstance, FastifyRequest } from 'fastify'
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
import { type EgressPair, OutboundProxy } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { parseInput } from './input.ts'

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

export function registerOutbound(app: FastifyInstance, context: ApiContext): void {
  const target = (request: FastifyRequest) => {
    const { slug, id } = parseInput(onePath, request.params, 'path')
    return { org: slug, id }
  }
  app.get(BASE, async (request) => {
    const { slug } = parseInput(orgPath, request.params, 'path')
    const views = await listOutbound(context, request.actor, slug)
    return { outbound_proxies: views.map(viewObject) }
  })
  app.post(BASE, async (request) => {
    const { slug } = parseInput(orgPath, request.params, 'path')
    const body = parseInput(createBody, request.body, 'body')
    const input = { org: slug, name: body.name, allow: body.allow, limits: body.limits }
    return issuedObject(context, await createOutbound(context, request.actor, input))
  })
  app.get(ONE, async (request) => ({
    outbound_proxy: viewObject(await showOutbound(context, request.actor, target(request))),
  }))
  app.delete(ONE, async (request) => ({
    outbound_proxy: viewObject(await destroyOutbound(context, request.actor, target(request))),
  }))
  app.patch(ONE, async (request) => {
    const body = parseInput(adjustBody, request.body, 'body')
    if (body.allow === undefined && body.limits === undefined)
      throw invalid('nothing to change; send allow or limits')
    const input = { ...target(request), allow: body.allow, limits: body.limits }
    return { outbound_proxy: viewObject(await adjustOutbound(context, request.actor, input)) }
  })
  app.post(`${ONE}/credentials`, async (request) => {
    const { keep_seconds, app: name, secret_name } = parseInput(rotateBody, request.body, 'body')
    if (secret_name !== undefined && name === undefined)
      throw invalid('secret_name: app is missing; name the app whose secret it is')
    const issued = await rotateOutbound(context, request.actor, {
      ...target(request),
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
