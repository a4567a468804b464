import { z } from 'zod'
import { FairwayError } from '../base/errors.ts'
import { getMachine } from '../control/machines/query.ts'
import { machineObject } from '../control/machines/view.ts'
import { WAIT_TIMEOUT_MAX_MS, waitMachine } from '../control/machines/wait.ts'
import { MachineConfig } from '../model/machine-config.ts'
import { MachineEvent } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { machinePath, optionalText, queryList } from './input.ts'
import { MachineState, Process } from './machine-object.ts'
import { closedSignal, MACHINE_PATH, targetOf } from './machine-path.ts'
import { type Api, Ok } from './routes.ts'

/** What becomes of a machine: waiting, events, versions, processes (flyctl-api 4.2). */

const PS_TIMEOUT_MS = 5_000
const PS_ROWS_MAX = 4_096

const waitQuery = z.looseObject({
  state: queryList,
  timeout: z
    .string()
    .regex(/^\d{1,5}s?$/, 'is a number of seconds from 1 to 60')
    .default('60'),
  version: optionalText,
  instance_id: optionalText,
})
const SORTED_BY = ['pid', 'cpu', 'rss', 'rtime', 'stime', 'command', 'directory'] as const
const psQuery = z.looseObject({
  sort_by: z.enum(SORTED_BY).default('pid'),
  order: z.enum(['asc', 'desc']).default('asc'),
})

const tag = 'Machines'
const EVENTS = {
  tag,
  summary: 'What happened to a machine, newest first',
  params: machinePath,
  response: { 200: z.array(MachineEvent) },
} as const
const VERSIONS = {
  tag,
  summary: 'The version that is in force, with its configuration',
  params: machinePath,
  response: { 200: z.array(z.object({ version: z.string(), user_config: MachineConfig })) },
} as const
const WAIT = {
  tag,
  summary: 'Answers when a machine is in one of the states; 408 when the time is over',
  description:
    'State is one of those of a machine, or settled. A suspended machine is a stopped one, so that waiting for suspended ends with either.',
  params: machinePath,
  querystring: waitQuery,
  response: { 200: Ok.extend({ state: MachineState, version: z.string() }) },
} as const
const PS = {
  tag,
  summary: 'Processes of a machine and the sockets on which they listen',
  params: machinePath,
  querystring: psQuery,
  response: { 200: z.array(Process) },
} as const

export function registerMachineHistory(api: Api, context: ApiContext): void {
  api.get(`${MACHINE_PATH}/events`, { schema: EVENTS }, async (request) => {
    return (await getMachine(context, request.actor, targetOf(request))).status.events
  })
  api.get(`${MACHINE_PATH}/versions`, { schema: VERSIONS }, async (request) => {
    const { machine } = await getMachine(context, request.actor, targetOf(request))
    return [{ version: machine.instanceId, user_config: machine.config }]
  })
  api.get(`${MACHINE_PATH}/wait`, { schema: WAIT }, async (request, reply) => {
    const { query } = request
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
    return { ok: true as const, state, version }
  })
  api.get(`${MACHINE_PATH}/ps`, { schema: PS }, async (request, reply) => {
    const { machine } = await getMachine(context, request.actor, targetOf(request))
    const signal = AbortSignal.any([closedSignal(reply), AbortSignal.timeout(PS_TIMEOUT_MS)])
    const call = { method: 'ps', machine: machine.id } as const
    const rows: Process[] = []
    for await (const lines of context.calls.call(machine.host, call, signal)) {
      // A host's word; what has not the shape of a process is none.
      for (const line of [lines].flat()) {
        const row = Process.safeParse(line)
        if (row.success) rows.push(row.data)
      }
      if (rows.length >= PS_ROWS_MAX) break
    }
    return sorted(rows, request.query)
  })
}

function sorted(rows: Process[], { sort_by, order }: z.output<typeof psQuery>): Process[] {
  const sign = order === 'asc' ? 1 : -1
  return rows.sort((a, b) => {
    const [x, y] = [a[sort_by], b[sort_by]]
    return sign * (x < y ? -1 : x > y ? 1 : 0)
  })
}
