import { z } from 'zod'
import {
  acquireLease,
  getLease,
  type LeaseGrant,
  releaseLease,
} from '../control/machines/leases.ts'
import type { ApiContext } from './context.ts'
import { machinePath, queryNumber } from './input.ts'
import { MACHINE_PATH, targetOf } from './machine-path.ts'
import { type Api, Ok } from './routes.ts'

/** Leases of machines. Some clients send the ttl in the query, some in the body (flyctl-api 9). */

const leaseQuery = z.looseObject({ ttl: queryNumber('ttl').optional() })
const leaseBody = z.looseObject({
  ttl: z.number().int().optional(),
  description: z.string().optional(),
})

const Lease = z
  .object({
    status: z.literal('success'),
    data: z.object({
      nonce: z.string(),
      /** Seconds since the epoch. */
      expires_at: z.int(),
      owner: z.string(),
      description: z.string(),
      version: z.string(),
    }),
  })
  .meta({ id: 'Lease' })

const GET = {
  tag: 'Leases',
  summary: "A machine's lease; 404 when nobody holds one",
  params: machinePath,
  response: { 200: Lease },
} as const
const TAKE = {
  tag: 'Leases',
  summary:
    'Takes the lease or, with its nonce, prolongs it; 409 when another one holds it, 404 when that is over',
  params: machinePath,
  querystring: leaseQuery,
  body: leaseBody,
  response: { 200: Lease },
} as const
const RELEASE = {
  tag: 'Leases',
  summary: 'Gives the lease back',
  params: machinePath,
  response: { 200: Ok.extend({ status: z.literal('success') }) },
} as const

export function registerMachineLeases(api: Api, context: ApiContext): void {
  const path = `${MACHINE_PATH}/lease`
  api.get(path, { schema: GET }, async (request) =>
    leaseObject(await getLease(context, request.actor, targetOf(request))),
  )
  api.post(path, { schema: TAKE }, async (request) => {
    const { query, body } = request
    const asked = { ttlS: query.ttl ?? body.ttl, description: body.description }
    return leaseObject(
      await acquireLease(context, request.actor, { ...targetOf(request), ...asked }),
    )
  })
  api.delete(path, { schema: RELEASE }, async (request) => {
    await releaseLease(context, request.actor, targetOf(request))
    return { ok: true, status: 'success' } as const
  })
}

const leaseObject = ({ lease, instanceId }: LeaseGrant): z.output<typeof Lease> => ({
  status: 'success',
  data: {
    nonce: lease.nonce,
    expires_at: Math.floor(lease.expiresAtMs / 1_000),
    owner: lease.owner,
    description: lease.description,
    version: instanceId,
  },
})
