import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import {
  acquireLease,
  getLease,
  type LeaseGrant,
  releaseLease,
} from '../control/machines/leases.ts'
import type { ApiContext } from './context.ts'
import { parseInput, queryNumber } from './input.ts'
import { targetOf } from './machines.ts'

/** Leases of machines. Some clients send the ttl in the query, some in the body (flyctl-api 9). */

const leaseQuery = z.looseObject({ ttl: queryNumber('ttl').optional() })
const leaseBody = z.looseObject({
  ttl: z.number().int().optional(),
  description: z.string().optional(),
})

export function registerMachineLeases(app: FastifyInstance, context: ApiContext): void {
  const path = '/v1/apps/:app/machines/:id/lease'
  app.get(path, async (request) =>
    leaseObject(await getLease(context, request.actor, targetOf(request))),
  )
  app.post(path, async (request) => {
    const query = parseInput(leaseQuery, request.query, 'query')
    const body = parseInput(leaseBody, request.body, 'body')
    const input = {
      ...targetOf(request),
      ttlS: query.ttl ?? body.ttl,
      description: body.description,
    }
    return leaseObject(await acquireLease(context, request.actor, input))
  })
  app.delete(path, async (request) => {
    await releaseLease(context, request.actor, targetOf(request))
    return { ok: true, status: 'success' }
  })
}

const leaseObject = ({ lease, instanceId }: LeaseGrant) => ({
  status: 'success',
  data: {
    nonce: lease.nonce,
    expires_at: Math.floor(lease.expiresAtMs / 1_000),
    owner: lease.owner,
    description: lease.description,
    version: instanceId,
  },
})
