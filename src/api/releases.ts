import { z } from 'zod'
import { notFound } from '../base/errors.ts'
import { listApps } from '../control/apps.ts'
import { createRelease, currentRelease, listReleases, updateRelease } from '../control/releases.ts'
import { Release } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, queryNumber } from './input.ts'
import { type Api, Time } from './routes.ts'

/** Releases (flyctl-api 5). */

const createBody = z.looseObject({
  app_name: z.string().min(1),
  definition: z.record(z.string(), z.unknown()).nullish(),
  image: z.string(),
  strategy: z.string().nullish(),
  description: z.string().nullish(),
})
const statusBody = z.looseObject({ status: z.string() })
const listQuery = z.looseObject({ limit: queryNumber('limit').optional() })

const ReleaseObject = z
  .object({
    id: z.string(),
    version: z.int(),
    status: z.string(),
    stable: z.boolean(),
    in_progress: z.boolean(),
    strategy: z.string(),
    description: z.string(),
    image_ref: z.string(),
    user: Release.shape.user,
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: 'Release' })

const tag = 'Releases'
const CREATE = {
  tag,
  summary: 'Begins a release',
  body: createBody,
  response: { 200: z.object({ release: ReleaseObject }) },
} as const
const UPDATE = {
  tag,
  summary: 'Says what became of a release',
  params: z.object({ id: z.string() }),
  body: statusBody,
  response: { 200: ReleaseObject },
} as const
const ALL_CURRENT = {
  tag,
  summary: 'When each app was released last',
  response: { 200: z.record(z.string(), Time) },
} as const
const LIST = {
  tag,
  summary: "An app's releases, newest first",
  params: appPath,
  querystring: listQuery,
  response: { 200: z.object({ releases: z.array(ReleaseObject) }) },
} as const
const CURRENT = {
  tag,
  summary: "An app's newest release; 404 when there is none",
  params: appPath,
  response: { 200: ReleaseObject },
} as const

export function registerReleases(api: Api, context: ApiContext): void {
  api.post('/api/v1/releases', { schema: CREATE }, async ({ actor, body }) => {
    const release = await createRelease(context, actor, {
      app: body.app_name,
      image: body.image,
      definition: body.definition ?? null,
      strategy: body.strategy ?? null,
      description: body.description ?? null,
    })
    return { release: releaseObject(release) }
  })
  api.patch('/api/v1/releases/:id', { schema: UPDATE }, async ({ actor, params, body }) =>
    releaseObject(await updateRelease(context, actor, { id: params.id, status: body.status })),
  )
  api.get('/api/v1/releases/all_current', { schema: ALL_CURRENT }, async ({ actor }) => {
    const apps = await listApps(context, actor)
    const current = await Promise.all(
      apps.map(async ({ name }) => {
        const release = await currentRelease(context, actor, name)
        return release ? [[name, release.createdAt] as const] : []
      }),
    )
    return Object.fromEntries(current.flat())
  })
  api.get('/api/v1/apps/:app/releases', { schema: LIST }, async ({ actor, params, query }) => {
    const { limit } = query
    const input = { app: params.app, ...(limit === undefined ? {} : { limit }) }
    const releases = await listReleases(context, actor, input)
    return { releases: releases.map(releaseObject) }
  })
  api.get('/api/v1/apps/:app/releases/current', { schema: CURRENT }, async ({ actor, params }) => {
    const release = await currentRelease(context, actor, params.app)
    if (!release) throw notFound(`app "${params.app}" has no release yet; deploy it first`)
    return releaseObject(release)
  })
}

const releaseObject = (release: Release): z.output<typeof ReleaseObject> => ({
  id: release.id,
  version: release.version,
  status: release.status,
  stable: release.status === 'complete',
  in_progress: release.status === 'pending' || release.status === 'running',
  strategy: release.strategy,
  description: release.description,
  image_ref: release.image,
  user: release.user,
  created_at: release.createdAt,
  updated_at: release.updatedAt,
})
