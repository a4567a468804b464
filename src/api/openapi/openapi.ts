import type { FastifyInstance, RouteOptions } from 'fastify'
import { type DescribedRoute, openApiDocument } from './document.ts'

/** Serves the document at GET /openapi.json. Call it before the routes that it is to show. */

const PATH = '/openapi.json'

export function registerOpenApi(app: FastifyInstance, version: string): void {
  const routes: DescribedRoute[] = []
  app.addHook('onRoute', (route) => {
    for (const method of [route.method].flat()) {
      if (isShown(routes, route)) routes.push(described(method, route))
    }
  })
  let text: string | undefined
  app.get(PATH, { config: { public: true } }, async (_request, reply) => {
    text ??= JSON.stringify(openApiDocument(routes, version))
    return reply.type('application/json; charset=utf-8').send(text)
  })
}

/** Fastify answers HEAD wherever it answers GET; that need not be told. */
const isShown = (routes: readonly DescribedRoute[], { method, url, schema }: RouteOptions) =>
  url !== PATH && !(method === 'HEAD' && routes.some((r) => r.url === url && r.schema === schema))

const described = (method: string, { url, schema, config }: RouteOptions): DescribedRoute => ({
  method,
  url,
  schema: schema ?? {},
  public: config?.public ?? false,
})
