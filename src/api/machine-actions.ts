import { z } from 'zod'
import { invalid } from '../base/errors.ts'
import {
  cordonMachine,
  restartMachine,
  signalMachine,
  startMachine,
  stopMachine,
  suspendMachine,
} from '../control/machines/actions.ts'
import type { ApiContext } from './context.ts'
import { machinePath, queryFlag } from './input.ts'
import { MachineState } from './machine-object.ts'
import { MACHINE_PATH, targetOf } from './machine-path.ts'
import { type Api, OK, Ok } from './routes.ts'

/** What is asked of a machine (flyctl-api 4.2). Each call answers as soon as the wish is stored. */

const signal = z.union([z.string(), z.number().int()]).nullish()
const timeout = z.union([z.string(), z.number()]).nullish()
const stopBody = z.looseObject({ signal, timeout })
/** flyctl sends these in the query, other clients in the body. */
const restartQuery = z.looseObject({
  force_stop: queryFlag,
  timeout: z.string().optional(),
  signal: z.string().optional(),
})

const action = (summary: string) =>
  ({ tag: 'Machines', summary, params: machinePath, response: { 200: Ok } }) as const
const START = {
  ...action('Starts a machine; does nothing to one that runs'),
  response: {
    200: Ok.extend({
      message: z.string(),
      status: z.literal('success'),
      previous_state: MachineState,
    }),
  },
} as const
const STOP = { ...action('Stops a machine'), body: stopBody } as const
const SUSPEND = action('Stops a machine: its memory is not kept')
const RESTART = {
  ...action('Stops a machine and starts it again'),
  querystring: restartQuery,
  body: stopBody,
} as const
const SIGNAL = {
  ...action("Sends a signal to a machine's process"),
  body: z.looseObject({ signal }),
} as const
const CORDON = {
  cordon: action('Takes a machine out of routing; it runs on'),
  uncordon: action('Routes to a machine again'),
}

export function registerMachineActions(api: Api, context: ApiContext): void {
  api.post(`${MACHINE_PATH}/start`, { schema: START }, async (request) => {
    const started = await startMachine(context, request.actor, targetOf(request))
    const previous_state = started.previousState
    return { ...OK, message: '', status: 'success' as const, previous_state }
  })
  api.post(`${MACHINE_PATH}/stop`, { schema: STOP }, async (request) => {
    await stopMachine(context, request.actor, { ...targetOf(request), ...given(request.body) })
    return OK
  })
  api.post(`${MACHINE_PATH}/suspend`, { schema: SUSPEND }, async (request) => {
    await suspendMachine(context, request.actor, targetOf(request))
    return OK
  })
  api.post(`${MACHINE_PATH}/restart`, { schema: RESTART }, async (request) => {
    const { query } = request
    const options = { ...given(request.body), ...given(query), force: query.force_stop }
    await restartMachine(context, request.actor, { ...targetOf(request), ...options })
    return OK
  })
  api.post(`${MACHINE_PATH}/signal`, { schema: SIGNAL }, async (request) => {
    const { signal } = request.body
    if (signal === undefined || signal === null)
      throw invalid('signal is missing; send one like "SIGTERM" or 15')
    await signalMachine(context, request.actor, { ...targetOf(request), signal })
    return OK
  })
  for (const verb of ['cordon', 'uncordon'] as const) {
    api.post(`${MACHINE_PATH}/${verb}`, { schema: CORDON[verb] }, async (request) => {
      const cordoned = verb === 'cordon'
      await cordonMachine(context, request.actor, { ...targetOf(request), cordoned })
      return OK
    })
  }
}

/** Signal and time-out as far as they are there. */
const given = ({ signal, timeout }: z.output<typeof stopBody>) => ({
  ...(signal === undefined || signal === null ? {} : { signal }),
  ...(timeout === undefined || timeout === null ? {} : { timeout }),
})
