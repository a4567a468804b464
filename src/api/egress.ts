import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import type { Actor } from '../control/context.ts'
import { adjustEgress, promoteEgress, resizeMachineEgress } from '../control/egress/adjust.ts'
import { allocateEgress } from '../control/egress/allocate.ts'
import type { Changed } from '../control/egress/change.ts'
import { egressRows, listEgress } from '../control/egress/list.ts'
import { egressUsage } from '../control/egress/meter.ts'
import { moveEgress } from '../control/egress/move.ts'
import { releaseEgress } from '../control/egress/release.ts'
import { getMachine } from '../control/machines/query.ts'
import { machineObject } from '../control/machines/view.ts'
import { EgressBlock, EgressPair } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, machinePath } from './input.ts'
import { MachineEgress } from './machine-object.ts'
import { type Api, Time } from './routes.ts'

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

const names = z.array(z.string())
const EgressIP = z
  .object({
    id: z.string(),
    ip: z.string(),
    version: z.literal([4, 6]),
    region: z.string(),
    regions: names,
    machine_id: z.string().nullable(),
    pin: EgressPair.shape.pin,
    state: EgressPair.shape.state,
    machines: z.array(
      z.object({
        id: z.string().nullable(),
        slot: z.int(),
        count: z.int(),
        host: z.string(),
        state: EgressBlock.shape.state,
      }),
    ),
    blocks_used: z.int(),
    blocks_total: z.int(),
    created_at: Time,
    updated_at: Time,
    price_per_month: z.string(),
  })
  .meta({ id: 'EgressIP' })
const effectsShape = { machines_moved: names, machines_to_default: names, waiting: names }
const Change = z
  .object({ egress_ips: z.array(EgressIP), ...effectsShape })
  .meta({ id: 'EgressChange' })
const Held = z
  .object({
    address: z.string(),
    version: z.literal([4, 6]),
    region: z.string(),
    app: z.string().nullable(),
    hours: z.int(),
    price: z.string(),
    currency: z.string(),
  })
  .meta({ id: 'EgressHeld' })

const tag = 'Egress'
const LIST = {
  tag,
  summary: 'Egress addresses of an app',
  params: appPath,
  response: { 200: z.object({ egress_ips: z.array(EgressIP) }) },
} as const
const ALLOCATE = {
  tag,
  summary: 'Allocates pairs of egress addresses',
  params: appPath,
  body: allocateBody,
  response: { 200: Change },
} as const
const RELEASE = {
  tag,
  summary: 'Gives one address of a pair back',
  params: ipPath,
  response: {
    200: z.object({ v4: z.string().nullable(), v6: z.string().nullable(), ...effectsShape }),
  },
} as const
const ADJUST = {
  tag,
  summary: 'Changes who may use a pair, in which regions, and whether it drains',
  params: ipPath,
  body: adjustBody,
  response: { 200: Change },
} as const
const PROMOTE = {
  tag,
  summary: "Makes a machine's pair its app's",
  params: ipPath,
  response: { 200: Change },
} as const
const MOVE = {
  tag,
  summary: 'Gives a pair to another app, or to one machine',
  params: ipPath,
  body: moveBody,
  response: { 200: Change },
} as const
const BLOCKS = {
  tag,
  summary: 'Gives a machine more or fewer ports',
  params: machinePath,
  body: blocksBody,
  response: {
    200: z.object({ machine_id: z.string(), egress: MachineEgress, waiting: names }),
  },
} as const
const METERING = {
  tag,
  summary: 'Hours that addresses of an organization were held, and the price',
  params: orgPath,
  querystring: meteringQuery,
  response: { 200: z.object({ from: Time, to: Time, addresses: z.array(Held) }) },
} as const

const BASE = '/api/v1/apps/:app/egress_ips'
const ONE = `${BASE}/:ip`

export function registerEgress(api: Api, context: ApiContext): void {
  registerPairs(api, context)
  registerOne(api, context)
  const blocks = '/api/v1/apps/:app/machines/:id/egress_blocks'
  api.post(blocks, { schema: BLOCKS }, async ({ actor, params, body }) => {
    const target = { app: params.app, machine: params.id }
    const changed = await resizeMachineEgress(context, actor, { ...target, count: body.count })
    const object = machineObject(context.fleet, await getMachine(context, actor, target))
    return { machine_id: params.id, egress: object.egress, waiting: changed.waiting }
  })
  const metering = '/api/v1/orgs/:slug/egress_metering'
  api.get(metering, { schema: METERING }, async ({ actor, params, query }) =>
    egressUsage(context, actor, { org: params.slug, from: query.from, to: query.to }),
  )
}

function registerPairs(api: Api, context: ApiContext): void {
  api.get(BASE, { schema: LIST }, async ({ actor, params }) => {
    const pairs = await listEgress(context, actor, params.app)
    return { egress_ips: pairs.flatMap((pair) => egressRows(context, pair)) }
  })
  api.post(BASE, { schema: ALLOCATE }, async ({ actor, params, body }) => {
    const changed = await allocateEgress(context, actor, { ...body, app: params.app })
    return answer(context, actor, params.app, changed, changed.result)
  })
}

const targetOf = ({ app, ip }: z.output<typeof ipPath>) => ({ app, address: ip })

function registerOne(api: Api, context: ApiContext): void {
  api.delete(ONE, { schema: RELEASE }, async ({ actor, params }) => {
    const { result, ...changed } = await releaseEgress(context, actor, targetOf(params))
    return { ...result, ...effects(changed) }
  })
  api.patch(ONE, { schema: ADJUST }, async ({ actor, params, body }) => {
    const { pin, regions, draining } = body
    if (pin === undefined && regions === undefined && draining === undefined)
      throw invalid('nothing to change; send pin, regions or draining')
    const change = { ...targetOf(params), pin, regions, draining }
    const changed = await adjustEgress(context, actor, change)
    return answer(context, actor, params.app, changed, [changed.result])
  })
  // As flyctl sends it: no body, an IPv6 address unescaped.
  api.post(`${ONE}/promote`, { schema: PROMOTE }, async ({ actor, params }) => {
    const changed = await promoteEgress(context, actor, targetOf(params))
    return answer(context, actor, params.app, changed, [changed.result])
  })
  api.post(`${ONE}/move`, { schema: MOVE }, async ({ actor, params, body }) => {
    const to = { to: body.app, machine: body.machine }
    const changed = await moveEgress(context, actor, { ...targetOf(params), ...to })
    const owner = changed.result.app ?? params.app
    return answer(context, actor, owner, changed, [changed.result])
  })
}

/** The rows of the pairs as they are by now, with their machines. */
async function answer(
  context: ApiContext,
  actor: Actor,
  app: string,
  changed: Changed<unknown>,
  pairs: readonly EgressPair[],
) {
  const ids = new Set(pairs.map((pair) => pair.id))
  const now = await listEgress(context, actor, app)
  const rows = now.filter((pair) => ids.has(pair.id)).flatMap((pair) => egressRows(context, pair))
  return { egress_ips: rows, ...effects(changed) }
}

/** What a change did to machines, beside the addresses. */
const effects = ({ moved, toDefault, waiting }: Omit<Changed<unknown>, 'result'>) => ({
  machines_moved: moved,
  machines_to_default: toDefault,
  waiting,
})
