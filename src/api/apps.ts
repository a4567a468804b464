import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import { createApp, getApp, listApps } from '../control/apps.ts'
import type { Actor } from '../control/context.ts'
import { removeApp } from '../control/machines/remove-app.ts'
import { getOrg } from '../control/orgs.ts'
import type { App, Org } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput } from './input.ts'

/** Apps (flyctl-api 4.1), and the calls about volumes that clients make on the way. */

/** Published clients send `app_name`, flyctl sends `name`. */
const createBody = z.looseObject({
  name: z.string().optional(),
  app_name: z.string().optional(),
  org_slug: z.string().min(1),
  network: z.string().nullish(),
})
const listQuery = z.looseObject({ org_slug: z.string().optional() })

export function registerApps(app: FastifyInstance, context: ApiContext): void {
  app.post('/v1/apps', async (request, reply) => {
    const body = parseInput(createBody, request.body, 'body')
    const name = body.name || body.app_name
    if (!name) throw invalid('name is missing; send name, or app_name')
    const input = { name, org: body.org_slug, network: body.network || null }
    const created = await createApp(context, request.actor, input)
    return reply.code(201).send(await appObject(context, request.actor, created))
  })
  app.get('/v1/apps', async (request) => {
    const { org_slug } = parseInput(listQuery, request.query, 'query')
    const apps = await listApps(context, request.actor, { org: org_slug ?? null })
    const orgs = new Map<string, Org>()
    const objects = []
    for (const one of apps) {
      const org = orgs.get(one.org) ?? (await getOrg(context, request.actor, one.org))
      orgs.set(one.org, org)
      objects.push(objectOf(context, one, org))
    }
    return { total_apps: objects.length, apps: objects }
  })
  app.get('/v1/apps/:app', async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    return appObject(context, request.actor, await getApp(context, request.actor, name))
  })
  app.delete('/v1/apps/:app', async (request, reply) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    await removeApp(context, request.actor, name)
    return reply.code(202).send({ ok: true })
  })
  app.get('/v1/apps/:app/volumes', async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    await getApp(context, request.actor, name)
    return []
  })
}

const appObject = async (context: ApiContext, actor: Actor, app: App) =>
  objectOf(context, app, await getOrg(context, actor, app.org))

const objectOf = (context: ApiContext, app: App, org: Org) => ({
  id: app.id,
  name: app.name,
  internal_numeric_id: app.numericId,
  network: app.network,
  status: app.status,
  machine_count: context.fleet.machineCount(app.name),
  volume_count: 0,
  organization: { name: org.name, slug: org.slug, internal_numeric_id: org.numericId },
  cname_target: `${app.name}.${context.config.appsDomains[0]}`,
  app_role: '',
  created_at: app.createdAt,
})
