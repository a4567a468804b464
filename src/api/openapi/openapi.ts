import type { RouteOptions } from 'fastify'
import { z } from 'zod'
import type { Api } from '../routes.ts'
import { type DescribedRoute, openApiDocument } from './document.ts'
import { shownAs } from './schemas.ts'

/** Serves the document at GET /openapi.json. Call it before the routes that it is to show. */

const OPENAPI = {
  tag: 'Platform',
  summary: 'This document',
  // Sent as the text that it was made into once.
  response: { 200: shownAs(z.string(), z.looseObject({ openapi: z.string() })) },
} as const

export function registerOpenApi(api: Api, version: string): void {
  const routes: DescribedRoute[] = []
  api.addHook('onRoute', (route) => {
    for (const method of [route.method].flat())
      if (!isImplied(routes, route)) routes.push(described(method, route))
  })
  // Made at the first call: most processes are never asked.
  let text: string | undefined
  api.get('/openapi.json', { config: { public: true }, schema: OPENAPI }, async (_, reply) => {
    text ??= JSON.stringify(openApiDocument(routes, version))
    return reply.type('application/json; charset=utf-8').send(text)
  })
}

/** Fastify answers HEAD wherever it answers GET; that need not be told. */
const isImplied = (routes: readonly DescribedRoute[], { method, url, schema }: RouteOptions) =>
  method === 'HEAD' && routes.some((route) => route.url === url && route.schema === schema)

const described = (method: string, { url, schema, config }: RouteOptions): DescribedRoute => ({
  method,
  url,
  schema: schema ?? {},
  public: config?.public ?? false,
})
