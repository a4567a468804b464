import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import { getApp } from '../control/apps.ts'
import { getMachine, listMachines, mayBeShown } from '../control/machines/query.ts'
import type { AgentCall } from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { closedSignal } from './machine-path.ts'
import type { Api } from './routes.ts'

/** Questions about egress that only hosts can answer: ports in use, and whether a way is open. */

export const EGRESS_CHECKED_MAX = 256
const CHECKS_AT_ONCE = 32
const CHECK_TIMEOUT_MS = 5_000
/** The agent's own time-out, and the way there and back. */
const CALL_MARGIN_MS = 2_000
const USAGE_TIMEOUT_MS = 5_000
/** Of one host. */
const USAGE_LINES_MAX = 20_000

const usageLine = z.looseObject({ machine: z.string().max(64) })
const checkBody = z.looseObject({
  host: z.string().min(1).max(253),
  port: z.number().int().min(1).max(65_535),
  machine: z.string().min(1).max(64).optional(),
})
const checkLine = z.looseObject({})

const UsageRow = usageLine.extend({ host: z.string() }).meta({ id: 'EgressUsage' })
const CheckRow = z
  .looseObject({ machine: z.string(), region: z.string(), on: z.string() })
  .meta({ id: 'EgressCheck' })

const USAGE = {
  tag: 'Egress',
  summary: 'Ports in use, by machine and destination',
  params: appPath,
  response: {
    200: z.object({
      usage: z.array(UsageRow),
      hosts_silent: z.array(z.object({ host: z.string(), error: z.string() })),
    }),
  },
} as const
const CHECK = {
  tag: 'Egress',
  summary: 'Connects from machines, to see which source really leaves',
  params: appPath,
  body: checkBody,
  response: { 200: z.object({ checks: z.array(CheckRow), machines_skipped: z.int() }) },
} as const

export function registerEgressCalls(api: Api, context: ApiContext): void {
  api.get('/api/v1/apps/:app/egress_usage', { schema: USAGE }, async (request, reply) => {
    const name = request.params.app
    const app = await getApp(context, request.actor, name)
    const machines = await listMachines(context, request.actor, { app: name })
    const hosts = [...new Set(machines.map(({ machine }) => machine.host))]
    const signal = AbortSignal.any([closedSignal(reply), AbortSignal.timeout(USAGE_TIMEOUT_MS)])
    const answers = await Promise.all(
      hosts.map((host) => ask(context, host, { method: 'egress-usage', app: name }, signal)),
    )
    const usage: z.output<typeof UsageRow>[] = []
    for (const [i, { lines }] of answers.entries()) {
      for (const line of lines) {
        const parsed = usageLine.safeParse(line)
        if (!parsed.success || !(await mayBeShown(context, app, parsed.data.machine))) continue
        usage.push({ ...parsed.data, host: hosts[i]! })
      }
    }
    const silent = answers.flatMap(({ error }, i) => (error ? [{ host: hosts[i]!, error }] : []))
    return { usage, hosts_silent: silent }
  })

  api.post('/api/v1/apps/:app/egress_check', { schema: CHECK }, async (request, reply) => {
    const name = request.params.app
    const { host, port, machine } = request.body
    const seen = machine
      ? [await getMachine(context, request.actor, { app: name, machine })]
      : await listMachines(context, request.actor, { app: name })
    const started = seen.filter(({ status }) => machine || status.state === 'started')
    const queue = started.slice(0, EGRESS_CHECKED_MAX).map((one) => one.machine)
    const closed = closedSignal(reply)
    const checks: z.output<typeof CheckRow>[] = []
    const work = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const { id, region, host: on } = next
        const timeoutMs = CHECK_TIMEOUT_MS
        const call = { method: 'egress-check', machine: id, host, port, timeoutMs } as const
        const signal = AbortSignal.any([closed, AbortSignal.timeout(timeoutMs + CALL_MARGIN_MS)])
        const { lines, error } = await ask(context, on, call, signal)
        const answer = checkLine.safeParse(lines[0])
        const none = { error: error ?? 'the host gave no answer' }
        checks.push({ ...(answer.success ? answer.data : none), machine: id, region, on })
      }
    }
    await Promise.all(Array.from({ length: CHECKS_AT_ONCE }, work))
    const skipped = Math.max(0, started.length - EGRESS_CHECKED_MAX)
    return { checks, machines_skipped: skipped }
  })
}

/** All lines of the answer, and why there are no more. */
async function ask(
  { calls }: ApiContext,
  host: string,
  call: AgentCall,
  signal: AbortSignal,
): Promise<{ lines: unknown[]; error: string | null }> {
  const lines: unknown[] = []
  try {
    for await (const line of calls.call(host, call, signal)) {
      lines.push(line)
      if (lines.length >= USAGE_LINES_MAX) break
    }
    return { lines, error: signal.aborted ? 'the answer took too long' : null }
  } catch (error) {
    return { lines, error: messageOf(error) }
  }
}
