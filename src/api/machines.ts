import { z } from 'zod'
import { destroyMachine } from '../control/machines/actions.ts'
import { createMachine } from '../control/machines/create.ts'
import { LEASE_TTL_MAX_S } from '../control/machines/leases.ts'
import { getMachine, listMachines } from '../control/machines/query.ts'
import { setMetadata, updateMachine } from '../control/machines/update.ts'
import { machineObject } from '../control/machines/view.ts'
import { MachineConfig } from '../model/machine-config.ts'
import type { ApiContext } from './context.ts'
import { appPath, machinePath, optionalText, queryFlag, queryList } from './input.ts'
import { registerMachineActions } from './machine-actions.ts'
import { registerMachineHistory } from './machine-history.ts'
import { registerMachineLeases } from './machine-leases.ts'
import { Machine } from './machine-object.ts'
import { MACHINE_PATH, MACHINES_PATH, targetOf } from './machine-path.ts'
import { shownAs } from './openapi/schemas.ts'
import { type Api, NoContent, OK, Ok } from './routes.ts'

/** Machines (flyctl-api 4.2): their records and metadata. */

const launchBody = z.looseObject({
  // Its own rules say more than a shape can.
  config: shownAs(z.unknown(), MachineConfig),
  region: optionalText,
  name: optionalText,
  skip_launch: z.boolean().optional(),
  skip_service_registration: z.boolean().optional(),
  skip_secrets: z.boolean().optional(),
  min_secrets_version: z.number().int().min(0).optional(),
  lease_ttl: z.number().int().min(0).max(LEASE_TTL_MAX_S).optional(),
})

const listQuery = z.looseObject({
  include_deleted: queryFlag,
  region: optionalText,
  state: queryList,
})
const destroyQuery = z.looseObject({ kill: queryFlag, force: queryFlag })
const metadataPath = machinePath.extend({ key: z.string().min(1).max(128) })

const tag = 'Machines'
const LIST = {
  tag,
  summary: "An app's machines, oldest first",
  params: appPath,
  querystring: listQuery,
  response: { 200: z.array(Machine) },
} as const
const CREATE = {
  tag,
  summary: 'Creates a machine and, unless skip_launch is set, starts it',
  params: appPath,
  body: launchBody,
  response: { 200: Machine },
} as const
const GET = {
  tag,
  summary: 'One machine; for a while also one that was destroyed',
  params: machinePath,
  response: { 200: Machine },
} as const
const UPDATE = {
  tag,
  summary: 'Replaces the configuration; the machine starts with it',
  params: machinePath,
  body: launchBody,
  response: { 200: Machine },
} as const
const DESTROY = {
  tag,
  summary: 'Destroys a machine; one that runs only with kill=true',
  params: machinePath,
  querystring: destroyQuery,
  response: { 200: Ok },
} as const
const METADATA = {
  tag,
  summary: 'Metadata of a machine',
  params: machinePath,
  response: { 200: z.record(z.string(), z.string()) },
} as const
const SET_METADATA = {
  tag,
  summary: 'Sets one piece of metadata; the machine runs on',
  params: metadataPath,
  body: z.looseObject({ value: z.string() }),
  response: { 204: NoContent },
} as const
const UNSET_METADATA = {
  tag,
  summary: 'Removes one piece of metadata',
  params: metadataPath,
  response: { 204: NoContent },
} as const

export function registerMachines(api: Api, context: ApiContext): void {
  registerRecords(api, context)
  registerMetadata(api, context)
  registerMachineActions(api, context)
  registerMachineHistory(api, context)
  registerMachineLeases(api, context)
}

function registerRecords(api: Api, context: ApiContext): void {
  const { fleet } = context
  api.get(MACHINES_PATH, { schema: LIST }, async ({ actor, params, query }) => {
    const filter = {
      app: params.app,
      region: query.region,
      includeDeleted: query.include_deleted,
    }
    const seen = await listMachines(context, actor, filter)
    const objects = seen.map((one) => machineObject(fleet, one))
    const states = query.state.flatMap((state) => state.split(','))
    return states.length === 0 ? objects : objects.filter((o) => states.includes(o.state))
  })
  api.post(MACHINES_PATH, { schema: CREATE }, async ({ actor, params, body }) => {
    const record = await createMachine(context, actor, { ...body, app: params.app })
    return machineObject(fleet, record, record.lease)
  })
  api.get(MACHINE_PATH, { schema: GET }, async (request) =>
    machineObject(fleet, await getMachine(context, request.actor, targetOf(request))),
  )
  api.post(MACHINE_PATH, { schema: UPDATE }, async (request) => {
    const target = targetOf(request)
    const record = await updateMachine(context, request.actor, { ...request.body, ...target })
    return machineObject(fleet, record, target.nonce ? record.lease : undefined)
  })
  api.delete(MACHINE_PATH, { schema: DESTROY }, async (request) => {
    const force = request.query.kill || request.query.force
    await destroyMachine(context, request.actor, { ...targetOf(request), force })
    return OK
  })
}

function registerMetadata(api: Api, context: ApiContext): void {
  const path = `${MACHINE_PATH}/metadata`
  api.get(path, { schema: METADATA }, async (request) => {
    const { machine } = await getMachine(context, request.actor, targetOf(request))
    return machine.config.metadata ?? {}
  })
  api.post(`${path}/:key`, { schema: SET_METADATA }, async (request, reply) => {
    const change = { key: request.params.key, value: request.body.value }
    await setMetadata(context, request.actor, { ...targetOf(request), ...change })
    return reply.code(204).send()
  })
  api.delete(`${path}/:key`, { schema: UNSET_METADATA }, async (request, reply) => {
    const change = { key: request.params.key, value: null }
    await setMetadata(context, request.actor, { ...targetOf(request), ...change })
    return reply.code(204).send()
  })
}
