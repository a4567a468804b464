import { z } from 'zod'
import { FairwayError, notFound } from '../base/errors.ts'
import { getApp } from '../control/apps.ts'
import type { Actor } from '../control/context.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { type Api, Time } from './routes.ts'

/**
 * Volumes (flyctl-api 4.5). There are none yet: the list is empty, so that clients which look on their
 * way go on, and whoever wants one is told.
 */

const volumePath = appPath.extend({ id: z.string().min(1).max(64) })

const Volume = z
  .object({
    id: z.string(),
    name: z.string(),
    state: z.string(),
    size_gb: z.int(),
    region: z.string(),
    attached_machine_id: z.string().nullable(),
    created_at: Time,
  })
  .meta({ id: 'Volume' })

const LIST = {
  tag: 'Volumes',
  summary: 'Volumes of an app: none yet',
  params: appPath,
  response: { 200: z.array(Volume) },
} as const
const CREATE = {
  tag: 'Volumes',
  summary: 'Creates a volume: not yet, always 501',
  params: appPath,
} as const
const one = (summary: string) =>
  ({ tag: 'Volumes', summary: `${summary}: not yet, always 404`, params: volumePath }) as const

export function registerVolumes(api: Api, context: ApiContext): void {
  const base = '/v1/apps/:app/volumes'
  const none = async ({ actor, params }: { actor: Actor; params: { app: string; id: string } }) => {
    await getApp(context, actor, params.app)
    throw notFound(`volume "${params.id}": app "${params.app}" has no volumes; nobody has, yet`)
  }
  api.get(base, { schema: LIST }, async ({ actor, params }) => {
    await getApp(context, actor, params.app)
    return []
  })
  api.post(base, { schema: CREATE }, async ({ actor, params }) => {
    await getApp(context, actor, params.app)
    throw new FairwayError(
      'volumes_unsupported',
      'volumes are not there yet; keep what must last outside the machine, such as in a database',
      { status: 501 },
    )
  })
  api.get(`${base}/:id`, { schema: one('One volume') }, none)
  api.delete(`${base}/:id`, { schema: one('Destroys a volume') }, none)
  api.put(`${base}/:id/extend`, { schema: one('Makes a volume larger') }, none)
  api.get(`${base}/:id/snapshots`, { schema: one('Snapshots of a volume') }, none)
}
