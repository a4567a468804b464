import { Readable } from 'node:stream'
import { z } from 'zod'
import { encodeLine } from '../base/ndjson.ts'
import { getApp } from '../control/apps.ts'
import { getMachine, mayBeShown } from '../control/machines/query.ts'
import { keys } from '../model/keys.ts'
import type { Machine } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import { appPath, queryFlag, queryNumber } from './input.ts'
import { keptAlive } from './keep-alive.ts'
import { followLogs, type LogQuery, tailLogs } from './log-merge.ts'
import { closedSignal } from './machine-path.ts'
import { type Api, ndjson, Time } from './routes.ts'

/** An app's log as NDJSON: the last lines of all hosts in order of time, then new ones. */

export const TAIL_LINES_DEFAULT = 100
export const TAIL_LINES_MAX = 1_000

const logsQuery = z.looseObject({
  tail: queryNumber('tail').optional(),
  follow: queryFlag,
  machine: z.string().max(64).optional(),
})

const LogLine = z
  .looseObject({
    timestamp: Time,
    app: z.string(),
    machine: z.string(),
    region: z.string(),
    host: z.string(),
    level: z.string(),
    source: z.string(),
    message: z.string(),
  })
  .meta({ id: 'LogLine' })

const LOGS = {
  tag: 'Apps',
  summary: "An app's log: the last lines of all hosts in order of time, then new ones",
  description: 'Empty lines mean that the stream is alive.',
  params: appPath,
  querystring: logsQuery,
  response: { 200: ndjson(LogLine) },
} as const

export function registerLogs(api: Api, context: ApiContext): void {
  api.get('/api/v1/apps/:app/logs', { schema: LOGS }, async (request, reply) => {
    const { query } = request
    const name = request.params.app
    const app = await getApp(context, request.actor, name)
    const target = { app: name, machine: query.machine ?? '' }
    const only = query.machine ? await getMachine(context, request.actor, target) : undefined
    const asked: LogQuery = {
      app: name,
      since: app.createdAt,
      shows: remembering((machine) => mayBeShown(context, app, machine)),
      machine: only?.machine.id,
      host: only?.machine.host,
      isGone: () => isGone(context, only?.machine),
      tail: Math.min(query.tail ?? TAIL_LINES_DEFAULT, TAIL_LINES_MAX),
      signal: closedSignal(reply),
    }
    const lines = query.follow ? followLogs(context, asked) : tailLogs(context, asked)
    return reply
      .type('application/x-ndjson')
      .send(Readable.from(keptAlive(encoded(lines), context.clock)))
  })
}

/** Its record is removed in the transaction that buries it. */
async function isGone({ store }: ApiContext, machine: Machine | undefined): Promise<boolean> {
  return machine !== undefined && !(await store.get(keys.machine(machine.host, machine.id)))
}

const ANSWERS_KEPT_MAX = 1_000

/** Asks once for each name, of which a log has few. */
function remembering(ask: (name: string) => Promise<boolean>): typeof ask {
  const known = new Map<string, Promise<boolean>>()
  return (name) => {
    const answer = known.get(name) ?? ask(name)
    if (known.size >= ANSWERS_KEPT_MAX) known.clear()
    known.set(name, answer)
    return answer
  }
}

async function* encoded(lines: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const line of lines) yield encodeLine(line)
}
