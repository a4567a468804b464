import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { allocateAddress, listAddresses, releaseAddress } from '../control/addresses.ts'
import type { Address } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput } from './input.ts'

/** Addresses as `deploy` asks for them (flyctl-api 4.3); people use GraphQL. */

const assignBody = z.looseObject({
  type: z.enum(['v4', 'v6', 'shared_v4', 'private_v6']),
  region: z.string().nullish(),
  org_slug: z.string().nullish(),
  network: z.string().nullish(),
  service_name: z.string().nullish(),
})

export function registerIpAssignments(app: FastifyInstance, context: ApiContext): void {
  const path = '/v1/apps/:app/ip_assignments'
  app.get(path, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    return { ips: (await listAddresses(context, request.actor, name)).map(assignment) }
  })
  app.post(path, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const body = parseInput(assignBody, request.body, 'body')
    const { address } = await allocateAddress(context, request.actor, {
      app: name,
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
  app.delete(`${path}/:ip`, async (request) => {
    const { app: name, ip } = parseInput(
      appPath.extend({ ip: z.string().max(64) }),
      request.params,
      'path',
    )
    await releaseAddress(context, request.actor, { app: name, address: ip })
    return { ok: true }
  })
}

const assignment = (address: Address) => ({
  ip: address.address,
  region: address.region,
  service_name: address.serviceName ?? '',
  shared: address.kind === 'shared_v4',
  created_at: address.createdAt,
})
