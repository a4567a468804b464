import type { MachineEvent } from '../model/resources.ts'
import type { LogLine } from '../model/wire.ts'
import type { ApiMachine } from './api-types.ts'
import { ApiError, cancelled, deadline, isNotFound } from './errors.ts'
import { plainMessage } from './log-text.ts'
import { createMachine, getMachine, type Launch, machinePath } from './machines.ts'
import { retire } from './retire.ts'
import type { Session } from './session.ts'

/** Machines that run once: one-offs and release commands. */

export interface JobOptions {
  /** Killed and destroyed after so long; null: never. */
  readonly timeoutMs: number | null
  readonly onLine: (line: LogLine) => void
}

export interface JobEnd {
  readonly machine: ApiMachine
  readonly exitCode: number
  readonly oomKilled: boolean
}

const WAIT_SECONDS = 10
/** Between two waits, so that an API which answers at once is not asked without end. */
const PAUSE_MS = 100
const START_LINES_MAX = 1_000
/** How long the last lines of a machine that is gone may take. */
const LAST_LINES_MS = 10_000

/**
 * Makes a machine with `auto_destroy`, shows what it logs, and waits for its end. An interrupt and
 * the time-out stop it; in every case it is gone afterwards. Throws `machine_failed` when it could
 * not be started, `deadline` at the time-out.
 */
export async function runJob(
  session: Session,
  launch: Launch,
  options: JobOptions,
): Promise<JobEnd> {
  if (session.io.signal.aborted) throw cancelled()
  // Not started at once, so that not even the shortest job ends before its log is followed. The
  // answer is waited for in any case: who does not know the machine cannot destroy it.
  const created = await createMachine(session.uninterrupted(), { ...launch, skipLaunch: true })
  const { id } = created
  session.note(`Created machine ${id} in ${created.region}`)
  const quiet = new AbortController()
  try {
    const log = followLog(session, id, { signal: quiet.signal, onLine: options.onLine })
    await log.open
    await session.client.post(machinePath(session, id, 'start'))
    await ended(session, id, options.timeoutMs)
    const late = session.io.clock.sleep(LAST_LINES_MS, quiet.signal).catch(() => {})
    await Promise.race([log.ended, late])
    return endOf(await getMachine(session, id))
  } catch (error) {
    await retire(session, id)
    throw error
  } finally {
    quiet.abort()
  }
}

interface Follow {
  readonly signal: AbortSignal
  readonly onLine: (line: LogLine) => void
}

/** Reads a machine's log until it ends with the machine. What goes wrong with it is only said. */
function followLog(session: Session, id: string, { signal, onLine }: Follow) {
  const open = Promise.withResolvers<void>()
  const query = { tail: START_LINES_MAX, follow: true, machine: id }
  const read = async () => {
    const path = `/api${session.appPath('logs')}`
    const lines = session.client.lines(path, query, { signal, onOpen: () => open.resolve() })
    for await (const text of lines) onLine(JSON.parse(text) as LogLine)
  }
  const ended = read()
    .catch((error: unknown) => {
      if (!signal.aborted && !session.io.signal.aborted)
        session.note(`Warning: its log cannot be shown: ${String(error)}`)
    })
    .finally(() => open.resolve())
  return { open: open.promise, ended }
}

/** Until the machine is gone. */
async function ended(session: Session, id: string, timeoutMs: number | null): Promise<void> {
  const startMs = session.io.clock.now()
  for (;;) {
    const leftMs = timeoutMs === null ? Infinity : startMs + timeoutMs - session.io.clock.now()
    if (leftMs <= 0) throw deadline(`Machine ${id} was still running after ${timeoutMs! / 1000} s.`)
    const timeout = Math.max(1, Math.min(WAIT_SECONDS, Math.ceil(leftMs / 1000)))
    try {
      await session.client.get(machinePath(session, id, 'wait'), {
        state: 'destroyed,failed',
        timeout,
      })
      const machine = await getMachine(session, id)
      if (machine.state === 'failed') throw notStarted(machine)
      return
    } catch (error) {
      if (isNotFound(error)) return
      if (!(error instanceof ApiError) || error.status !== 408) throw error
      await session.io.clock.sleep(PAUSE_MS, session.io.signal)
    }
  }
}

function notStarted(machine: ApiMachine): ApiError {
  const why = machine.events?.find((event) => event.status === 'failed')?.request?.error
  const reason = typeof why === 'string' ? `: ${why}` : ''
  return new ApiError(`Machine ${machine.id} could not be started${reason}.`, {
    ...{ status: 422, code: 'machine_failed' },
  })
}

function endOf(machine: ApiMachine): JobEnd {
  const isExit = (event: MachineEvent) => event.request?.exit_event !== undefined
  const exit = machine.events?.find(isExit)?.request?.exit_event
  if (!exit) {
    throw new ApiError(`Machine ${machine.id} ended, and its host did not say how.`, {
      ...{ status: 422, code: 'machine_failed' },
    })
  }
  return { machine, exitCode: exit.exit_code, oomKilled: exit.oom_killed }
}

/** The last `count` messages, oldest first. */
export class LastLines {
  readonly #count: number
  #lines: string[] = []

  constructor(count: number) {
    this.#count = count
  }

  add(line: LogLine): void {
    this.#lines = [...this.#lines, plainMessage(line)].slice(-this.#count)
  }

  get text(): string {
    return this.#lines.map((line) => `\n  ${line}`).join('')
  }
}
