import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import { adjustEgress, promoteEgress, resizeMachineEgress } from '../control/egress/adjust.ts'
import { allocateEgress } from '../control/egress/allocate.ts'
import type { Changed } from '../control/egress/change.ts'
import { type EgressRow, egressRows, listEgress } from '../control/egress/list.ts'
import { egressUsage } from '../control/egress/meter.ts'
import { moveEgress } from '../control/egress/move.ts'
import { releaseEgress } from '../control/egress/release.ts'
import { getMachine } from '../control/machines/query.ts'
import { machineObject } from '../control/machines/view.ts'
import type { EgressPair } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, machinePath, parseInput } from './input.ts'

/**
 * Egress addresses: ours, beside flyctl's GraphQL (docs/egress.md). A change answers when it is in
 * force; `waiting` names the live hosts that lag.
 */

const ipPath = appPath.extend({ ip: z.string().min(1).max(64) })
const group = z.object({ group: z.string().min(1).max(64) })
const machine = z.object({ machine: z.string().min(1).max(64) })
const pin = z.union([group.strict(), machine.strict()]).nullable()
const REGIONS_MAX = 64
const regions = z.array(z.string().min(1).max(64)).max(REGIONS_MAX)

const allocateBody = z.looseObject({
  region: z.string().max(64).nullish(),
  count: z.number().int().optional(),
  regions: regions.optional(),
  pin: pin.optional(),
})
const adjustBody = z.looseObject({
  pin: pin.optional(),
  regions: regions.min(1).optional(),
  draining: z.boolean().optional(),
})
const moveBody = z.looseObject({
  app: z.string().min(1).max(128).optional(),
  machine: z.string().min(1).max(64).optional(),
})
const blocksBody = z.looseObject({ count: z.number().int() })
const orgPath = z.object({ slug: z.string().min(1).max(128) })
const meteringQuery = z.looseObject({
  from: z.string().max(64).optional(),
  to: z.string().max(64).optional(),
})

const BASE = '/api/v1/apps/:app/egress_ips'
const ONE = `${BASE}/:ip`

export function registerEgress(app: FastifyInstance, context: ApiContext): void {
  registerPairs(app, context)
  registerOne(app, context)
  app.post('/api/v1/apps/:app/machines/:id/egress_blocks', async (request) => {
    const { app: name, id } = parseInput(machinePath, request.params, 'path')
    const { count } = parseInput(blocksBody, request.body, 'body')
    const target = { app: name, machine: id }
    const changed = await resizeMachineEgress(context, request.actor, { ...target, count })
    const object = machineObject(context.fleet, await getMachine(context, request.actor, target))
    return { machine_id: id, egress: object.egress, waiting: changed.waiting }
  })
  app.get('/api/v1/orgs/:slug/egress_metering', async (request) => {
    const { slug } = parseInput(orgPath, request.params, 'path')
    const { from, to } = parseInput(meteringQuery, request.query, 'query')
    return egressUsage(context, request.actor, { org: slug, from, to })
  })
}

function registerPairs(app: FastifyInstance, context: ApiContext): void {
  app.get(BASE, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const pairs = await listEgress(context, request.actor, name)
    return { egress_ips: pairs.flatMap((pair) => egressRows(context, pair)) }
  })
  app.post(BASE, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const body = parseInput(allocateBody, request.body, 'body')
    const changed = await allocateEgress(context, request.actor, { ...body, app: name })
    return answer(context, request, name, changed, changed.result)
  })
}

function registerOne(app: FastifyInstance, context: ApiContext): void {
  const target = (request: FastifyRequest) => {
    const { app: name, ip } = parseInput(ipPath, request.params, 'path')
    return { app: name, address: ip }
  }
  app.delete(ONE, async (request) => {
    const { result, ...changed } = await releaseEgress(context, request.actor, target(request))
    return { ...result, ...effects(changed) }
  })
  app.patch(ONE, async (request) => {
    const body = parseInput(adjustBody, request.body, 'body')
    const { pin, regions, draining } = body
    if (pin === undefined && regions === undefined && draining === undefined)
      throw invalid('nothing to change; send pin, regions or draining')
    const one = target(request)
    const changed = await adjustEgress(context, request.actor, { ...one, pin, regions, draining })
    return answer(context, request, one.app, changed, [changed.result])
  })
  // As flyctl sends it: no body, an IPv6 address unescaped.
  app.post(`${ONE}/promote`, async (request) => {
    const one = target(request)
    const changed = await promoteEgress(context, request.actor, one)
    return answer(context, request, one.app, changed, [changed.result])
  })
  app.post(`${ONE}/move`, async (request) => {
    const { app: to, machine } = parseInput(moveBody, request.body, 'body')
    const one = target(request)
    const changed = await moveEgress(context, request.actor, { ...one, to, machine })
    const owner = changed.result.app ?? one.app
    return answer(context, request, owner, changed, [changed.result])
  })
}

/** The rows of the pairs as they are by now, with their machines. */
async function answer(
  context: ApiContext,
  request: FastifyRequest,
  app: string,
  changed: Changed<unknown>,
  pairs: readonly EgressPair[],
) {
  const ids = new Set(pairs.map((pair) => pair.id))
  const now = await listEgress(context, request.actor, app)
  const rows: EgressRow[] = now
    .filter((pair) => ids.has(pair.id))
    .flatMap((pair) => egressRows(context, pair))
  return { egress_ips: rows, ...effects(changed) }
}

/** What a change did to machines, beside the addresses. */
const effects = ({ moved, toDefault, waiting }: Omit<Changed<unknown>, 'result'>) => ({
  machines_moved: moved,
  machines_to_default: toDefault,
  waiting,
})
