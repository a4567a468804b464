import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { notFound } from '../base/errors.ts'
import { numericId } from '../base/ids.ts'
import { getApp, listApps } from '../control/apps.ts'
import { getOrg, listOrgs } from '../control/orgs.ts'
import { createRelease, currentRelease, listReleases, updateRelease } from '../control/releases.ts'
import type { Org, Release } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput, queryNumber } from './input.ts'

/** The second REST API of flyctl (flyctl-api 5): orgs, builds and releases. */

const buildBody = z.looseObject({ app_name: z.string().min(1) })
const finishBody = buildBody.extend({
  build_id: z.number().int().nullish(),
  status: z.string().nullish(),
})
const releaseBody = z.looseObject({
  app_name: z.string().min(1),
  definition: z.record(z.string(), z.unknown()).nullish(),
  image: z.string(),
  strategy: z.string().nullish(),
  description: z.string().nullish(),
})
const statusBody = z.looseObject({ status: z.string() })
const releasesQuery = z.looseObject({ limit: queryNumber('limit').optional() })

export function registerReleases(app: FastifyInstance, context: ApiContext): void {
  registerOrgs(app, context)
  registerBuilds(app, context)
  app.post('/api/v1/releases', async (request) => {
    const body = parseInput(releaseBody, request.body, 'body')
    const release = await createRelease(context, request.actor, {
      app: body.app_name,
      image: body.image,
      definition: body.definition ?? null,
      strategy: body.strategy ?? null,
      description: body.description ?? null,
    })
    return { release: releaseObject(release) }
  })
  app.patch('/api/v1/releases/:id', async (request) => {
    const { id } = parseInput(z.object({ id: z.string() }), request.params, 'path')
    const { status } = parseInput(statusBody, request.body, 'body')
    return releaseObject(await updateRelease(context, request.actor, { id, status }))
  })
  app.get('/api/v1/releases/all_current', async (request) => {
    const apps = await listApps(context, request.actor)
    const current = await Promise.all(
      apps.map(async ({ name }) => {
        const release = await currentRelease(context, request.actor, name)
        return release ? [[name, release.createdAt] as const] : []
      }),
    )
    return Object.fromEntries(current.flat())
  })
  app.get('/api/v1/apps/:app/releases', async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const { limit } = parseInput(releasesQuery, request.query, 'query')
    const input = { app: name, ...(limit === undefined ? {} : { limit }) }
    const releases = await listReleases(context, request.actor, input)
    return { releases: releases.map(releaseObject) }
  })
  app.get('/api/v1/apps/:app/releases/current', async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const release = await currentRelease(context, request.actor, name)
    if (!release) throw notFound(`app "${name}" has no release yet; deploy it first`)
    return releaseObject(release)
  })
}

function registerOrgs(app: FastifyInstance, context: ApiContext): void {
  app.get('/api/v1/organizations', async (request) => ({
    organizations: (await listOrgs(context, request.actor)).map(orgObject),
  }))
  app.get('/api/v1/organizations/:slug', async (request) => {
    const { slug } = parseInput(z.object({ slug: z.string() }), request.params, 'path')
    return { organization: orgObject(await getOrg(context, request.actor, slug)) }
  })
}

/** Clients announce their builds; nothing is built here, so nothing is kept. The code must be 200. */
function registerBuilds(app: FastifyInstance, context: ApiContext): void {
  app.post('/api/v1/builds', async (request, reply) => {
    const body = parseInput(buildBody, request.body, 'body')
    await getApp(context, request.actor, body.app_name)
    return reply.code(200).send({ id: numericId(), status: 'started', wallclock_time_ms: 0 })
  })
  app.post('/api/v1/builds/finish', async (request, reply) => {
    const body = parseInput(finishBody, request.body, 'body')
    await getApp(context, request.actor, body.app_name)
    const status = body.status ?? 'completed'
    return reply.code(200).send({ id: body.build_id ?? 0, status, wallclock_time_ms: 0 })
  })
}

const orgObject = (org: Org) => ({
  id: org.id,
  internal_numeric_id: org.numericId,
  slug: org.slug,
  raw_slug: org.slug,
  name: org.name,
  personal: org.type === 'PERSONAL',
  paid_plan: false,
  billable: false,
  billing_status: 'CURRENT',
  provisions_beta_extensions: false,
  remote_builder_image: '',
})

const releaseObject = (release: Release) => ({
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
