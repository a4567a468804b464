import { z } from 'zod'
import { allocateAddress, listAddresses, releaseAddress } from '../control/addresses.ts'
import type { Address } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { type Api, OK, Ok, Time } from './routes.ts'

/** Addresses as `deploy` asks for them (flyctl-api 4.3); people use GraphQL. */

const assignBody = z.looseObject({
  type: z.enum(['v4', 'v6', 'shared_v4', 'private_v6']),
  region: z.string().nullish(),
  org_slug: z.string().nullish(),
  network: z.string().nullish(),
  service_name: z.string().nullish(),
})

const Assignment = z
  .object({
    ip: z.string(),
    region: z.string(),
    service_name: z.string(),
    shared: z.boolean(),
    created_at: Time,
  })
  .meta({ id: 'IPAssignment' })

const tag = 'Addresses'
const LIST = {
  tag,
  summary: 'Addresses of an app, the shared IPv4 included',
  params: appPath,
  response: { 200: z.object({ ips: z.array(Assignment) }) },
} as const
const ASSIGN = {
  tag,
  summary: 'Gives an app an address',
  params: appPath,
  body: assignBody,
  response: { 200: Assignment },
} as const
const RELEASE = {
  tag,
  summary: 'Gives an address back',
  params: appPath.extend({ ip: z.string().max(64) }),
  response: { 200: Ok },
} as const

export function registerIpAssignments(api: Api, context: ApiContext): void {
  const path = '/v1/apps/:app/ip_assignments'
  api.get(path, { schema: LIST }, async ({ actor, params }) => ({
    ips: (await listAddresses(context, actor, params.app)).map(assignment),
  }))
  api.post(path, { schema: ASSIGN }, async ({ actor, params, body }) => {
    const { address } = await allocateAddress(context, actor, {
      app: params.app,
      kind: body.type,
      region: body.region || null,
      serviceName: body.service_name || null,
      // Clients send these with every type; they mean something for a private address alone.
      ...(body.type === 'private_v6'
        ? { network: body.network || null, org: body.org_slug || null }
        : {}),
    })
    return assignment(address)
  })
  api.delete(`${path}/:ip`, { schema: RELEASE }, async ({ actor, params }) => {
    await releaseAddress(context, actor, { app: params.app, address: params.ip })
    return OK
  })
}

const assignment = (address: Address) => ({
  ip: address.address,
  region: address.region,
  service_name: address.serviceName ?? '',
  shared: address.kind === 'shared_v4',
  created_at: address.createdAt,
})
