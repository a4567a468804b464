import { z } from 'zod'
import { messageOf } from '../base/errors.ts'
import type { LogLine } from '../model/wire.ts'
import type { ApiContext } from './context.ts'

/** One log out of those of many hosts. */

export interface LogQuery {
  readonly app: string
  /** When the app was made: what is older is of one that had its name before. */
  readonly since: string
  /** Whether a machine's lines are the app's to see. */
  readonly shows: (machine: string) => Promise<boolean>
  /** One machine's lines, which only `host` has. */
  readonly machine: string | undefined
  readonly host: string | undefined
  /** Whether that one machine is gone for good: its log ends then. */
  readonly isGone: () => Promise<boolean>
  /** How many of the last lines. */
  readonly tail: number
  /** The reader has gone. */
  readonly signal: AbortSignal
}

/** A host that has not sent its last lines by then is left out. */
export const TAIL_TIMEOUT_MS = 3_000
/** How long the first lines of all hosts are gathered before they are put in order. */
const FIRST_WINDOW_MS = 300
/** Lines that come within it are put in order. */
const WINDOW_MS = 50
/** New and returned hosts are asked within it. */
const HOSTS_INTERVAL_MS = 1_000
/** Lines that wait for the reader; beyond, hosts wait. */
export const LINES_WAITING_MAX = 5_000

/** An agent's line is data from a machine, or from whoever broke out of one. */
const agentLine = z.object({
  timestamp: z.string().max(64),
  machine: z.string().max(64),
  region: z.string().max(64),
  level: z.enum(['info', 'error', 'warn']),
  source: z.enum(['app', 'proxy', 'machine']),
  message: z.string(),
})

/** The last lines, then the end. */
export async function* tailLogs(context: ApiContext, query: LogQuery): AsyncGenerator<LogLine> {
  const signal = AbortSignal.any([query.signal, AbortSignal.timeout(TAIL_TIMEOUT_MS)])
  const perHost = await Promise.all(
    hostsOf(context, query).map(async (host) => {
      const lines: LogLine[] = []
      try {
        for await (const line of linesOf(context, query, host, false, query.tail, signal)) {
          lines.push(line)
          if (lines.length > query.tail) lines.shift()
        }
      } catch (error) {
        context.log.debug({ host, error: messageOf(error) }, 'no log lines of host')
      }
      return lines
    }),
  )
  yield* newest(perHost.flat(), query.tail)
}

/** The last lines, then every new one until the reader goes. */
export async function* followLogs(context: ApiContext, query: LogQuery): AsyncGenerator<LogLine> {
  const gatherer = new Gatherer(context, query)
  const { clock } = context
  const sleep = (ms: number) => clock.sleep(ms, query.signal).catch(() => {})
  try {
    gatherer.askHosts(query.tail)
    await sleep(FIRST_WINDOW_MS)
    yield* newest(gatherer.take(), query.tail)
    let askedMs = clock.now()
    while (!query.signal.aborted) {
      await gatherer.more(HOSTS_INTERVAL_MS)
      await sleep(WINDOW_MS)
      const isOver = gatherer.isOver
      yield* inOrder(gatherer.take())
      if (isOver) return
      if (clock.now() - askedMs < HOSTS_INTERVAL_MS) continue
      gatherer.askHosts(0)
      askedMs = clock.now()
    }
  } finally {
    gatherer.close()
  }
}

/** Reads the streams of all hosts into one bounded buffer. */
class Gatherer {
  readonly #context: ApiContext
  readonly #query: LogQuery
  readonly #closed = new AbortController()
  readonly #asked = new Set<string>()
  #lines: LogLine[] = []
  #onLine = () => {}
  #onRoom = Promise.withResolvers<void>()
  #isOver = false

  constructor(context: ApiContext, query: LogQuery) {
    this.#context = context
    this.#query = query
  }

  /** The one machine that is asked for is gone, and all its lines are here. */
  get isOver(): boolean {
    return this.#isOver
  }

  askHosts(tail: number): void {
    for (const host of hostsOf(this.#context, this.#query)) {
      if (!this.#asked.has(host)) void this.#read(host, tail)
    }
  }

  take(): LogLine[] {
    const lines = this.#lines
    this.#lines = []
    this.#onRoom.resolve()
    this.#onRoom = Promise.withResolvers()
    return lines
  }

  /** Resolves when there is a line, or after `timeoutMs`. */
  async more(timeoutMs: number): Promise<void> {
    if (this.#lines.length > 0) return
    const timer = new AbortController()
    const until = AbortSignal.any([timer.signal, this.#query.signal])
    const line = new Promise<void>((resolve) => {
      this.#onLine = resolve
    })
    await Promise.race([line, this.#context.clock.sleep(timeoutMs, until).catch(() => {})])
    timer.abort()
  }

  close(): void {
    this.#closed.abort()
    this.#onRoom.resolve()
  }

  async #read(host: string, tail: number): Promise<void> {
    this.#asked.add(host)
    const signal = AbortSignal.any([this.#query.signal, this.#closed.signal])
    try {
      for await (const line of linesOf(this.#context, this.#query, host, true, tail, signal)) {
        while (this.#lines.length >= LINES_WAITING_MAX && !signal.aborted)
          await this.#onRoom.promise
        this.#lines.push(line)
        this.#onLine()
      }
      // Its host has said all, unless only the host's agent goes.
      if (!signal.aborted && this.#query.machine && (await this.#query.isGone())) {
        this.#isOver = true
        this.#onLine()
      }
    } catch (error) {
      this.#context.log.debug({ host, error: messageOf(error) }, 'log lines of host ended')
    } finally {
      // Its agent may have been restarted; it is asked again at the next turn.
      this.#asked.delete(host)
    }
  }
}

/** Any host's edge may have lines of the app; a machine's lines are on its own host. */
const hostsOf = ({ calls, fleet }: ApiContext, query: LogQuery): string[] =>
  (query.host === undefined ? fleet.liveHosts() : [query.host]).filter((host) =>
    calls.isConnected(host),
  )

async function* linesOf(
  { calls }: ApiContext,
  { app, machine, since, shows }: LogQuery,
  host: string,
  follow: boolean,
  tail: number,
  signal: AbortSignal,
): AsyncGenerator<LogLine> {
  const call = { method: 'logs', app, tail, follow, ...(machine ? { machine } : {}) } as const
  for await (const answer of calls.call(host, call, signal)) {
    const parsed = agentLine.safeParse(answer)
    if (!parsed.success || parsed.data.timestamp < since) continue
    if (parsed.data.machine !== '' && !(await shows(parsed.data.machine))) continue
    yield { ...parsed.data, app, host }
  }
}

const inOrder = (lines: LogLine[]): LogLine[] =>
  lines.sort((a, b) => (a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0))

const newest = (lines: LogLine[], count: number): LogLine[] =>
  count === 0 ? [] : inOrder(lines).slice(-count)
