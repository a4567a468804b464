import { z } from 'zod'
import { FairwayError, notFound } from '../base/errors.ts'
import { getApp } from '../control/apps.ts'
import type { Actor } from '../control/context.ts'
import type { ApiContext } from './context.ts'
import { appPath, queryNumber } from './input.ts'
import { type Api, Time } from './routes.ts'

/**
 * Certificates (flyctl-api 4.4). There are none yet: the list is empty, and whoever wants one is told.
 */

const namePath = appPath.extend({ hostname: z.string().min(1).max(253) })
const listQuery = z.looseObject({
  limit: queryNumber('limit').optional(),
  cursor: z.string().max(256).optional(),
  filter: z.string().max(253).optional(),
})
const hostname = z.string().min(1).max(253)
const acmeBody = z.looseObject({ hostname })
const customBody = z.looseObject({ hostname, fullchain: z.string(), private_key: z.string() })

const Certificate = z
  .object({
    hostname: z.string(),
    status: z.string(),
    configured: z.boolean(),
    acme_requested: z.boolean(),
    has_custom_certificate: z.boolean(),
    has_fly_certificate: z.boolean(),
    created_at: Time,
    updated_at: Time,
  })
  .meta({ id: 'Certificate' })

const LIST = {
  tag: 'Certificates',
  summary: 'Certificates of an app: none yet',
  params: appPath,
  querystring: listQuery,
  response: { 200: z.object({ certificates: z.array(Certificate), total_count: z.int() }) },
} as const
const create = <B extends z.ZodType>(summary: string, body: B) =>
  ({
    tag: 'Certificates',
    summary: `${summary}: not yet, always 501`,
    params: appPath,
    body,
  }) as const
const one = (summary: string) =>
  ({ tag: 'Certificates', summary: `${summary}: not yet, always 404`, params: namePath }) as const

export function registerCertificates(api: Api, context: ApiContext): void {
  const base = '/v1/apps/:app/certificates'
  const refused = async ({ actor, params }: { actor: Actor; params: { app: string } }) => {
    await getApp(context, actor, params.app)
    throw new FairwayError(
      'certificates_unsupported',
      'certificates are not there yet; the app is reached by plain HTTP, or with TLS of its own on a port without handlers',
      { status: 501 },
    )
  }
  const none = async ({
    actor,
    params,
  }: {
    actor: Actor
    params: { app: string; hostname: string }
  }) => {
    await getApp(context, actor, params.app)
    throw notFound(`certificate "${params.hostname}": app "${params.app}" has none`)
  }
  api.get(base, { schema: LIST }, async ({ actor, params }) => {
    await getApp(context, actor, params.app)
    return { certificates: [], total_count: 0 }
  })
  api.post(`${base}/acme`, { schema: create('Asks for one by ACME', acmeBody) }, refused)
  api.post(`${base}/custom`, { schema: create('Brings one along', customBody) }, refused)
  const ONE = `${base}/:hostname`
  api.get(ONE, { schema: one('One certificate') }, none)
  api.post(`${ONE}/check`, { schema: one('Looks at its DNS records again') }, none)
  api.delete(ONE, { schema: one('Forgets a host name') }, none)
  api.delete(`${ONE}/acme`, { schema: one('Ends the one by ACME') }, none)
  api.delete(`${ONE}/custom`, { schema: one('Ends the one brought along') }, none)
}
