import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import { createApp, getApp, listApps } from '../control/apps.ts'
import type { Actor } from '../control/context.ts'
import { removeApp } from '../control/machines/remove-app.ts'
import { getOrg } from '../control/orgs.ts'
import { App, type Org } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { type Api, Ok, Time } from './routes.ts'

/** Apps (flyctl-api 4.1). */

/** Published clients send `app_name`, flyctl sends `name`. */
const createBody = z.looseObject({
  name: z.string().optional(),
  app_name: z.string().optional(),
  org_slug: z.string().min(1),
  network: z.string().nullish(),
})
const listQuery = z.looseObject({ org_slug: z.string().optional() })

const AppObject = z
  .object({
    id: z.string(),
    name: z.string(),
    internal_numeric_id: z.int32(),
    network: z.string(),
    status: App.shape.status,
    machine_count: z.int(),
    volume_count: z.int(),
    organization: z.object({
      name: z.string(),
      slug: z.string(),
      internal_numeric_id: z.int32(),
    }),
    cname_target: z.string(),
    app_role: z.string(),
    created_at: Time,
  })
  .meta({ id: 'App' })
type AppObject = z.output<typeof AppObject>

const CREATE = {
  tag: 'Apps',
  summary: 'Creates an app',
  body: createBody,
  response: { 201: AppObject },
} as const
const LIST = {
  tag: 'Apps',
  summary: 'Apps of an organization, or all that the token may see',
  querystring: listQuery,
  response: { 200: z.object({ total_apps: z.int(), apps: z.array(AppObject) }) },
} as const
const GET = {
  tag: 'Apps',
  summary: 'One app',
  params: appPath,
  response: { 200: AppObject },
} as const
const DELETE = {
  tag: 'Apps',
  summary: 'Destroys an app with everything that it has',
  params: appPath,
  response: { 202: Ok },
} as const

export function registerApps(api: Api, context: ApiContext): void {
  api.post('/v1/apps', { schema: CREATE }, async ({ actor, body }, reply) => {
    const name = body.name || body.app_name
    if (!name) throw invalid('name is missing; send name, or app_name')
    const input = { name, org: body.org_slug, network: body.network || null }
    const created = await createApp(context, actor, input)
    return reply.code(201).send(await appObject(context, actor, created))
  })
  api.get('/v1/apps', { schema: LIST }, async ({ actor, query }) => {
    const apps = await listApps(context, actor, { org: query.org_slug ?? null })
    const orgs = new Map<string, Org>()
    const objects: AppObject[] = []
    for (const one of apps) {
      const org = orgs.get(one.org) ?? (await getOrg(context, actor, one.org))
      orgs.set(one.org, org)
      objects.push(objectOf(context, one, org))
    }
    return { total_apps: objects.length, apps: objects }
  })
  api.get('/v1/apps/:app', { schema: GET }, async ({ actor, params }) =>
    appObject(context, actor, await getApp(context, actor, params.app)),
  )
  api.delete('/v1/apps/:app', { schema: DELETE }, async ({ actor, params }, reply) => {
    await removeApp(context, actor, params.app)
    return reply.code(202).send({ ok: true })
  })
}

const appObject = async (context: ApiContext, actor: Actor, app: App) =>
  objectOf(context, app, await getOrg(context, actor, app.org))

const objectOf = (context: ApiContext, app: App, org: Org): AppObject => ({
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
