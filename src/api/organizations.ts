import { z } from 'zod'
import { numericId } from '../base/ids.ts'
import { getApp } from '../control/apps.ts'
import { getOrg, listOrgs } from '../control/orgs.ts'
import type { Org } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import type { Api } from './routes.ts'

/** What flyctl asks before it deploys: organizations, and leave for a build (flyctl-api 5). */

const buildBody = z.looseObject({ app_name: z.string().min(1) })
const finishBody = buildBody.extend({
  build_id: z.number().int().nullish(),
  status: z.string().nullish(),
})

const Organization = z
  .object({
    id: z.string(),
    internal_numeric_id: z.int32(),
    slug: z.string(),
    raw_slug: z.string(),
    name: z.string(),
    personal: z.boolean(),
    paid_plan: z.boolean(),
    billable: z.boolean(),
    billing_status: z.string(),
    provisions_beta_extensions: z.boolean(),
    remote_builder_image: z.string(),
  })
  .meta({ id: 'Organization' })
const Build = z
  .object({ id: z.int(), status: z.string(), wallclock_time_ms: z.int() })
  .meta({ id: 'Build' })

const LIST = {
  tag: 'Organizations',
  summary: 'The organizations of the token',
  response: { 200: z.object({ organizations: z.array(Organization) }) },
} as const
const GET = {
  tag: 'Organizations',
  summary: 'One organization',
  params: z.object({ slug: z.string() }),
  response: { 200: z.object({ organization: Organization }) },
} as const
const BEGIN = {
  tag: 'Releases',
  summary: 'Announces a build; nothing is built here, and nothing kept of it',
  body: buildBody,
  response: { 200: Build },
} as const
const FINISH = { ...BEGIN, summary: 'Ends a build that was announced', body: finishBody } as const

export function registerOrganizations(api: Api, context: ApiContext): void {
  api.get('/api/v1/organizations', { schema: LIST }, async ({ actor }) => ({
    organizations: (await listOrgs(context, actor)).map(orgObject),
  }))
  api.get('/api/v1/organizations/:slug', { schema: GET }, async ({ actor, params }) => ({
    organization: orgObject(await getOrg(context, actor, params.slug)),
  }))
  // Clients take any other code than 200 for a failure.
  api.post('/api/v1/builds', { schema: BEGIN }, async ({ actor, body }) => {
    await getApp(context, actor, body.app_name)
    return { id: numericId(), status: 'started', wallclock_time_ms: 0 }
  })
  api.post('/api/v1/builds/finish', { schema: FINISH }, async ({ actor, body }) => {
    await getApp(context, actor, body.app_name)
    return { id: body.build_id ?? 0, status: body.status ?? 'completed', wallclock_time_ms: 0 }
  })
}

const orgObject = (org: Org): z.output<typeof Organization> => ({
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
