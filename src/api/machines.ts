import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { FairwayError, invalid } from '../base/errors.ts'
import {
  cordonMachine,
  destroyMachine,
  restartMachine,
  signalMachine,
  startMachine,
  stopMachine,
  suspendMachine,
} from '../control/machines/actions.ts'
import { createMachine } from '../control/machines/create.ts'
import { getMachine, listMachines } from '../control/machines/query.ts'
import type { MachineTarget } from '../control/machines/records.ts'
import { setMetadata, updateMachine } from '../control/machines/update.ts'
import { type MachineObject, machineObject } from '../control/machines/view.ts'
import { WAIT_TIMEOUT_MAX_MS, waitMachine } from '../control/machines/wait.ts'
import type { ApiContext } from './context.ts'
import { appPath, machinePath, parseInput, queryFlag, queryList } from './input.ts'
import { registerMachineLeases } from './machine-leases.ts'

/** Machines (flyctl-api 4.2). */

const text = z
  .string()
  .nullish()
  .transform((value) => value || undefined)

const launchBody = z.looseObject({
  config: z.unknown(),
  region: text,
  name: text,
  skip_launch: z.boolean().optional(),
  skip_service_registration: z.boolean().optional(),
  skip_secrets: z.boolean().optional(),
  min_secrets_version: z.number().int().min(0).optional(),
  lease_ttl: z.number().int().min(0).optional(),
})

const listQuery = z.looseObject({ include_deleted: queryFlag, region: text, state: queryList })
const signalField = z.union([z.string(), z.number().int()]).optional()
const stopBody = z.looseObject({
  signal: signalField,
  timeout: z.union([z.string(), z.number()]).optional(),
})
const restartQuery = z.looseObject({
  force_stop: queryFlag,
  timeout: z.string().optional(),
  signal: z.string().optional(),
})
const destroyQuery = z.looseObject({ kill: queryFlag, force: queryFlag })
const waitQuery = z.looseObject({
  state: queryList,
  timeout: z
    .string()
    .regex(/^\d{1,5}s?$/, 'is a number of seconds from 1 to 60')
    .default('60'),
  version: text,
  instance_id: text,
})
const metadataPath = machinePath.extend({ key: z.string().min(1).max(128) })

/** The machine that a path and the nonce header speak of. */
export function targetOf(request: FastifyRequest): MachineTarget {
  const { app, id } = parseInput(machinePath, request.params, 'path')
  const nonce = request.headers['fly-machine-lease-nonce']
  return { app, machine: id, nonce: typeof nonce === 'string' ? nonce : undefined }
}

export function registerMachines(app: FastifyInstance, context: ApiContext): void {
  registerRecords(app, context)
  registerActions(app, context)
  registerHistory(app, context)
  registerMachineLeases(app, context)
}

const BASE = '/v1/apps/:app/machines'
/** One machine's path. */
export const MACHINE_PATH = `${BASE}/:id`
const ONE = MACHINE_PATH

function registerRecords(app: FastifyInstance, context: ApiContext): void {
  const get = async (request: FastifyRequest): Promise<MachineObject> =>
    machineObject(context.fleet, await getMachine(context, request.actor, targetOf(request)))

  app.get(BASE, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const query = parseInput(listQuery, request.query, 'query')
    const filter = { app: name, region: query.region, includeDeleted: query.include_deleted }
    const seen = await listMachines(context, request.actor, filter)
    const objects = seen.map((one) => machineObject(context.fleet, one))
    const states = query.state.flatMap((state) => state.split(','))
    return states.length === 0 ? objects : objects.filter((o) => states.includes(o.state))
  })
  app.post(BASE, async (request) => {
    const { app: name } = parseInput(appPath, request.params, 'path')
    const input = parseInput(launchBody, request.body, 'body')
    const record = await createMachine(context, request.actor, { ...input, app: name })
    return machineObject(context.fleet, record, record.lease)
  })
  app.get(ONE, get)
  app.post(ONE, async (request) => {
    const input = parseInput(launchBody, request.body, 'body')
    const target = targetOf(request)
    const record = await updateMachine(context, request.actor, { ...input, ...target })
    return machineObject(context.fleet, record, target.nonce ? record.lease : undefined)
  })
  app.delete(ONE, async (request) => {
    const query = parseInput(destroyQuery, request.query, 'query')
    const force = query.kill || query.force
    await destroyMachine(context, request.actor, { ...targetOf(request), force })
    return { ok: true }
  })
  app.get(`${ONE}/metadata`, async (request) => (await get(request)).config.metadata ?? {})
  app.post(`${ONE}/metadata/:key`, async (request, reply) => {
    const { key } = parseInput(metadataPath, request.params, 'path')
    const { value } = parseInput(z.looseObject({ value: z.string() }), request.body, 'body')
    await setMetadata(context, request.actor, { ...targetOf(request), key, value })
    return reply.code(204).send()
  })
  app.delete(`${ONE}/metadata/:key`, async (request, reply) => {
    const { key } = parseInput(metadataPath, request.params, 'path')
    await setMetadata(context, request.actor, { ...targetOf(request), key, value: null })
    return reply.code(204).send()
  })
}

function registerActions(app: FastifyInstance, context: ApiContext): void {
  app.post(`${ONE}/start`, async (request) => {
    const started = await startMachine(context, request.actor, targetOf(request))
    const previous_state = started.previousState
    return { ok: true, message: '', status: 'success', previous_state }
  })
  app.post(`${ONE}/stop`, async (request) => {
    const { signal, timeout } = parseInput(stopBody, request.body, 'body')
    await stopMachine(context, request.actor, { ...targetOf(request), signal, timeout })
    return { ok: true }
  })
  app.post(`${ONE}/restart`, async (request) => {
    const { force_stop, signal, timeout } = parseInput(restartQuery, request.query, 'query')
    const options = { signal, timeout, force: force_stop }
    await restartMachine(context, request.actor, { ...targetOf(request), ...options })
    return { ok: true }
  })
  app.post(`${ONE}/signal`, async (request) => {
    const { signal } = parseInput(z.looseObject({ signal: signalField }), request.body, 'body')
    if (signal === undefined) throw invalid('signal is missing; send one like "SIGTERM" or 15')
    await signalMachine(context, request.actor, { ...targetOf(request), signal })
    return { ok: true }
  })
  app.post(`${ONE}/suspend`, suspendMachine)
  for (const verb of ['cordon', 'uncordon'] as const) {
    app.post(`${ONE}/${verb}`, async (request) => {
      const cordoned = verb === 'cordon'
      await cordonMachine(context, request.actor, { ...targetOf(request), cordoned })
      return { ok: true }
    })
  }
}

function registerHistory(app: FastifyInstance, context: ApiContext): void {
  app.get(`${ONE}/events`, async (request) => {
    return (await getMachine(context, request.actor, targetOf(request))).status.events
  })
  app.get(`${ONE}/versions`, async (request) => {
    const { machine } = await getMachine(context, request.actor, targetOf(request))
    return [{ version: machine.instanceId, user_config: machine.config }]
  })
  app.get(`${ONE}/wait`, async (request, reply) => {
    const query = parseInput(waitQuery, request.query, 'query')
    const timeoutMs = Number.parseInt(query.timeout, 10) * 1_000
    if (timeoutMs < 1_000 || timeoutMs > WAIT_TIMEOUT_MAX_MS) {
      const message = `timeout: ${query.timeout} is not a number of seconds from 1 to 60`
      throw new FairwayError('invalid_request', message, { status: 400 })
    }
    const seen = await waitMachine(context, request.actor, {
      ...targetOf(request),
      states: query.state.flatMap((state) => state.split(',')),
      version: query.version ?? query.instance_id,
      timeoutMs,
      signal: closedSignal(reply),
    })
    const { state, version } = machineObject(context.fleet, seen)
    return { ok: true, state, version }
  })
  app.get(`${ONE}/ps`, async (request, reply) => {
    const { machine } = await getMachine(context, request.actor, targetOf(request))
    const signal = AbortSignal.any([closedSignal(reply), AbortSignal.timeout(PS_TIMEOUT_MS)])
    const rows: unknown[] = []
    for await (const row of context.calls.call(
      machine.host,
      { method: 'ps', machine: machine.id },
      signal,
    )) {
      rows.push(...[row].flat().filter((one) => one !== undefined))
      if (rows.length >= PS_ROWS_MAX) break
    }
    return rows
  })
}
const PS_TIMEOUT_MS = 5_000
const PS_ROWS_MAX = 4_096

/** Aborts when the client has hung up, or been answered. */
export function closedSignal(reply: FastifyReply): AbortSignal {
  const closed = new AbortController()
  reply.raw.once('close', () => closed.abort())
  return closed.signal
}
