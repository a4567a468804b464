import { Readable } from 'node:stream'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import { encodeLine } from '../base/ndjson.ts'
import type { Actor } from '../control/context.ts'
import { getMachine } from '../control/machines/query.ts'
import { type MachineTarget, precondition } from '../control/machines/records.ts'
import { shownState } from '../control/machines/state.ts'
import { shellWords } from '../model/fly-toml/shell-words.ts'
import {
  EXEC_COMMAND_BYTES_MAX,
  EXEC_ERRORS,
  EXEC_STDIN_BYTES_MAX,
  EXEC_TIMEOUT_DEFAULT_MS,
  EXEC_TIMEOUT_MAX_MS,
  type ExecEnd,
  type ExecError,
  type ExecLine,
} from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { machinePath } from './input.ts'
import { keptAlive } from './keep-alive.ts'
import { closedSignal, MACHINE_PATH, targetOf } from './machine-path.ts'
import type { Api } from './routes.ts'

/**
 * Commands inside machines (flyctl-api 4.2): `POST .../exec` answers when the command has ended, with
 * all that it printed. To `Accept: application/x-ndjson` it answers ExecLines as they come.
 */

/** Output of one answer, both streams together; a stream of lines has no such limit. */
export const EXEC_OUTPUT_BYTES_MAX = 4 * 1024 * 1024
const NDJSON = 'application/x-ndjson'

const execBody = z.looseObject({
  cmd: z.string().nullish(),
  command: z.union([z.string(), z.array(z.string())]).nullish(),
  stdin: z.string().nullish(),
  /** Seconds. */
  timeout: z.number().min(0).nullish(),
})
type ExecBody = z.output<typeof execBody>

/** A host's word about what ran in a machine of its own. */
const execLine = z.union([
  z.object({ t: z.enum(['stdout', 'stderr']), data: z.base64() }),
  z.object({
    t: z.literal('exit'),
    code: z.number().int().min(0).max(255),
    signal: z.number().int().min(0).max(64),
    error: z.enum(EXEC_ERRORS).optional(),
    message: z
      .string()
      .transform((text) => text.slice(0, 1_024))
      .optional(),
  }),
])

const ERROR_STATUS: Readonly<Record<ExecError, number>> = {
  machine_not_started: 412,
  machine_stopped: 412,
  command_not_found: 422,
  exec_timeout: 408,
  exec_failed: 422,
  busy: 429,
}

const ExecResult = z
  .object({
    exit_code: z.int(),
    exit_signal: z.int(),
    stdout: z.string(),
    stderr: z.string(),
  })
  .meta({ id: 'ExecResult' })
type ExecResult = z.output<typeof ExecResult>

const EXEC = {
  tag: 'Machines',
  summary: 'Runs a command in a started machine and answers when it has ended',
  description: `To "Accept: ${NDJSON}" the output is answered as it comes, in base64, and its end.`,
  params: machinePath,
  body: execBody,
  response: {
    200: {
      content: {
        'application/json': { schema: ExecResult },
        // Typed as anything: a stream of such lines is sent.
        [NDJSON]: { schema: execLine as z.ZodType },
      },
    },
  },
} as const

export function registerExec(api: Api, context: ApiContext): void {
  api.post(`${MACHINE_PATH}/exec`, { schema: EXEC }, async (request, reply) => {
    const asked = { body: request.body, target: targetOf(request), actor: request.actor }
    const lines = await begin(context, asked, closedSignal(reply))
    if (!request.headers.accept?.includes(NDJSON)) return wholeAnswer(lines)
    return reply.type(NDJSON).send(Readable.from(keptAlive(encoded(lines), context.clock)))
  })
}

interface Asked {
  readonly body: ExecBody
  readonly target: MachineTarget
  readonly actor: Actor
}

async function begin(
  context: ApiContext,
  { body, target, actor }: Asked,
  signal: AbortSignal,
): Promise<AsyncIterable<ExecLine>> {
  const command = commandOf(body)
  const stdin = stdinOf(body)
  const timeoutMs = timeoutOf(body)
  const { machine, status } = await getMachine(context, actor, target)
  const state = shownState(machine, status)
  if (state !== 'started')
    throw precondition(
      `machine ${machine.id} is ${state}; commands run in started machines only${state.startsWith('destroy') ? '' : `: "fairway machine start ${machine.id}"`}`,
    )
  const call = { method: 'exec', machine: machine.id, command, stdin, timeoutMs } as const
  return checkedLines(context.calls.call(machine.host, call, signal))
}

/** `command`, or flyctl's `cmd`, a line that is split as a shell does, without a shell. */
function commandOf({ cmd, command }: ExecBody): readonly string[] {
  const given = command ?? cmd
  if (given === undefined || given === null)
    throw wrong('cmd is missing; send a command line such as "ls -l /app"')
  const split = typeof given === 'string' ? shellWords(given) : { ok: true as const, words: given }
  if (!split.ok) throw wrong(`cmd: "${String(given).slice(0, 100)}" has an open quote; close it`)
  if (!split.words[0]) throw wrong('cmd is empty; send a command line such as "ls -l /app"')
  if (split.words.some((word) => word.includes('\0')))
    throw wrong('cmd holds a zero byte; no argument can')
  const bytes = split.words.reduce((sum, word) => sum + Buffer.byteLength(word) + 1, 0)
  if (bytes > EXEC_COMMAND_BYTES_MAX)
    throw wrong(
      `cmd has ${bytes} bytes; ${EXEC_COMMAND_BYTES_MAX} is the limit, give the rest as stdin`,
    )
  return split.words
}

function stdinOf({ stdin }: ExecBody): string {
  const bytes = Buffer.byteLength(stdin ?? '')
  if (bytes <= EXEC_STDIN_BYTES_MAX) return stdin ?? ''
  throw wrong(`stdin has ${bytes} bytes; ${EXEC_STDIN_BYTES_MAX} is the limit`)
}

function timeoutOf({ timeout }: ExecBody): number {
  if (!timeout) return EXEC_TIMEOUT_DEFAULT_MS
  if (timeout * 1_000 <= EXEC_TIMEOUT_MAX_MS) return timeout * 1_000
  throw wrong(`timeout: ${timeout} s is too long; at most ${EXEC_TIMEOUT_MAX_MS / 1_000}`)
}

const wrong = (message: string): FairwayError =>
  new FairwayError('invalid_request', message, { status: 400 })

/** Ends with an `exit` in any case. */
async function* checkedLines(answer: AsyncIterable<unknown>): AsyncGenerator<ExecLine> {
  try {
    for await (const one of answer) {
      const line = execLine.safeParse(one)
      if (!line.success) continue
      yield line.data as ExecLine
      if (line.data.t === 'exit') return
    }
  } catch (error) {
    yield lost(messageOf(error))
    return
  }
  yield lost('its host ended the answer before the command ended; whether that still runs is open')
}

const lost = (message: string): ExecEnd => ({
  ...{ t: 'exit', code: 1, signal: 0, error: 'exec_failed', message },
})

async function wholeAnswer(lines: AsyncIterable<ExecLine>): Promise<ExecResult> {
  const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  let bytes = 0
  for await (const line of lines) {
    if (line.t === 'exit') return answerOf(line, textOf(parts.stdout), textOf(parts.stderr))
    const chunk = Buffer.from(line.data, 'base64')
    bytes += chunk.length
    // Leaving the loop hangs up on the host, which kills the command.
    if (bytes > EXEC_OUTPUT_BYTES_MAX) throw tooMuch()
    parts[line.t].push(chunk)
  }
  throw new FairwayError('exec_failed', 'the command did not say how it ended')
}

const textOf = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString('utf8')

const tooMuch = (): FairwayError =>
  new FairwayError(
    'exec_output_limit',
    `the command printed more than ${EXEC_OUTPUT_BYTES_MAX} bytes and was killed; print less, or ask with "Accept: ${NDJSON}", as "fairway machine exec" does`,
    { status: 413 },
  )

function answerOf(end: ExecEnd, stdout: string, stderr: string): ExecResult {
  const { code, signal, error, message = '' } = end
  // A shell would say it on stderr as well, and clients look there.
  if (error === 'command_not_found')
    return { exit_code: code, exit_signal: signal, stdout, stderr: `${stderr}${message}\n` }
  if (error) throw new FairwayError(error, message, { status: ERROR_STATUS[error] })
  return { exit_code: code, exit_signal: signal, stdout, stderr }
}

async function* encoded(lines: AsyncIterable<ExecLine>): AsyncGenerator<string> {
  for await (const line of lines) yield encodeLine(line)
}
