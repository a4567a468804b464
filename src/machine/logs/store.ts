import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, isoTime } from '../../base/clock.ts'
import { FairwayError } from '../../base/errors.ts'
import type { AgentCall, LogLine } from '../../model/wire.ts'
import { BoundedLog } from './bounded-log.ts'
import { byTime, ContainerLogDecoder, LOG_LINE_BYTES_MAX, splitLines } from './codec.ts'
import { Follower } from './follower.ts'
import { appLogPath } from './rotate.ts'
import { type LogPosition, readMore, readTail } from './tail.ts'

/** Per file; two are kept. */
const PROXY_LOG_BYTES_MAX = 4 * 1024 * 1024
const EVENT_LOG_BYTES_MAX = 256 * 1024
const FOLLOW_POLL_MS = 150
/** How long a reader that is slow may hold up the end of a machine's folder. */
const FORGET_MS_MAX = 5_000
/** Readers at one time; each costs a look at every file of its app, seven times a second. */
export const FOLLOWERS_MAX = 64
export const TAIL_LINES_MAX = 10_000
const PROXY_LOG_DAYS_MAX = 7
const APP_NAME = /^[a-z0-9][a-z0-9-]{0,62}$/

export type LogsCall = Extract<AgentCall, { method: 'logs' }>

export interface LogStoreOptions {
  readonly stateDir: string
  readonly host: string
  readonly region: string
  readonly clock: Clock
  /** Machines of an app on this host, asked again and again while somebody follows. */
  machinesOf(app: string): readonly string[]
  folder(machine: string): string
}

/** The logs of a host: what machines wrote, what happened to them, and what the edge says. */
export class LogStore {
  readonly #options: LogStoreOptions
  readonly #open = new Map<string, BoundedLog>()
  readonly #followers = new Set<Follower>()

  constructor(options: LogStoreOptions) {
    this.#options = options
  }

  /** A line of the edge, for its app's log. */
  edge(line: LogLine): void {
    if (!APP_NAME.test(line.app)) return
    this.#append(this.#proxyPath(line.app), PROXY_LOG_BYTES_MAX, line)
  }

  /** A line about a machine: what the host does with it. */
  machine(line: Pick<LogLine, 'app' | 'machine' | 'level' | 'message'>): void {
    const { host, region, clock } = this.#options
    const timestamp = isoTime(clock.now())
    const whole: LogLine = { timestamp, region, host, source: 'machine', ...line }
    this.#append(this.#eventPath(line.machine), EVENT_LOG_BYTES_MAX, whole)
  }

  /** The machine's folder goes: those who follow its log read the last of it first. */
  async forget(machine: string): Promise<void> {
    const path = this.#eventPath(machine)
    await this.#open.get(path)?.flush()
    this.#open.delete(path)
    const late = new AbortController()
    const reads = [...this.#followers].map((follower) => follower.round())
    const wait = this.#options.clock.sleep(FORGET_MS_MAX, late.signal).catch(() => {})
    if (reads.length > 0) await Promise.race([Promise.all(reads), wait])
    late.abort()
  }

  /**
   * The last `tail` lines in order of time; then, with `follow`, new ones until `signal` fires. The
   * log of one machine ends when the machine is gone. Throws `too_many_followers`.
   */
  async *read(call: LogsCall, signal: AbortSignal): AsyncGenerator<LogLine> {
    if (this.#followers.size >= FOLLOWERS_MAX)
      throw new FairwayError('too_many_followers', `${FOLLOWERS_MAX} logs are being read already`, {
        status: 429,
      })
    const follower = new Follower(this.#options.clock)
    this.#followers.add(follower)
    try {
      const tail = Math.min(Math.max(0, call.tail), TAIL_LINES_MAX)
      await Promise.all([...this.#open.values()].map((log) => log.flush()))
      const sources = new Map<string, Source>()
      yield* await this.#lastLines(call, sources, tail)
      let wasHere = this.#isHere(call)
      while (call.follow && !signal.aborted) {
        const isHere = this.#isHere(call)
        if (wasHere && !isHere) return
        wasHere = isHere
        const begun = follower.begin()
        for (let more = true; more; ) {
          const lines = await this.#newLines(call, sources)
          yield* lines
          more = lines.length > 0 && !signal.aborted
        }
        begun()
        await follower.rest(FOLLOW_POLL_MS, signal)
      }
    } finally {
      this.#followers.delete(follower)
      follower.close()
    }
  }

  /** Whether the one machine that is asked for is on this host. */
  #isHere({ app, machine }: LogsCall): boolean {
    return machine !== undefined && this.#options.machinesOf(app).includes(machine)
  }

  /** Removes edge logs of apps that were quiet for a week. */
  async prune(): Promise<void> {
    const folder = join(this.#options.stateDir, 'logs')
    const oldestMs = this.#options.clock.now() - PROXY_LOG_DAYS_MAX * 86_400_000
    for (const name of await readdir(folder).catch(() => [])) {
      const found = await stat(join(folder, name)).catch(() => undefined)
      if (found && found.mtimeMs < oldestMs) await rm(join(folder, name), { force: true })
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((log) => log.flush()))
  }

  #append(path: string, bytesMax: number, line: LogLine): void {
    let log = this.#open.get(path)
    if (!log) {
      const { region, host, clock } = this.#options
      const { app, machine, source } = line
      log = new BoundedLog(path, bytesMax, (count) => {
        const timestamp = isoTime(clock.now())
        const message = `${count} lines dropped: the disk did not keep up`
        return JSON.stringify({
          timestamp,
          app,
          machine,
          region,
          host,
          level: 'warn',
          source,
          message,
        })
      })
      this.#open.set(path, log)
    }
    const message = line.message.slice(0, LOG_LINE_BYTES_MAX)
    log.append(JSON.stringify({ ...line, message }))
  }

  #proxyPath = (app: string) => join(this.#options.stateDir, 'logs', `${app}.proxy.log`)
  #eventPath = (machine: string) => join(this.#options.folder(machine), 'log', 'events.log')

  #sourcesOf({ app, machine }: LogsCall): { path: string; open: () => Source }[] {
    const machines = this.#options.machinesOf(app).filter((id) => !machine || id === machine)
    const found = machines.flatMap((id) => {
      const written = appLogPath(this.#options.folder(id))
      const events = this.#eventPath(id)
      return [
        { path: written, open: () => new Source(written, this.#machineDecoder(app, id)) },
        {
          path: events,
          open: () =>
            new Source(
              events,
              jsonDecoder(() => true),
            ),
        },
      ]
    })
    if (!APP_NAME.test(app)) return found
    const proxy = this.#proxyPath(app)
    const wanted = (line: LogLine) => !machine || line.machine === machine
    return [...found, { path: proxy, open: () => new Source(proxy, jsonDecoder(wanted)) }]
  }

  #machineDecoder(app: string, machine: string): Decoder {
    const { host, region } = this.#options
    const decoder = new ContainerLogDecoder()
    return (bytes) =>
      decoder.push(bytes).map(({ timestamp, text }) => ({
        ...{ timestamp, app, machine, region, host },
        ...{ level: 'info', source: 'app', message: text },
      }))
  }

  async #lastLines(call: LogsCall, sources: Map<string, Source>, tail: number) {
    const all: LogLine[] = []
    for (const { path, open } of this.#sourcesOf(call)) {
      const source = open()
      sources.set(path, source)
      all.push(...(await source.tail(tail)))
    }
    return all.sort(byTime).slice(Math.max(0, all.length - tail))
  }

  async #newLines(call: LogsCall, sources: Map<string, Source>): Promise<LogLine[]> {
    const all: LogLine[] = []
    for (const { path, open } of this.#sourcesOf(call)) {
      const source = sources.get(path) ?? open()
      sources.set(path, source)
      all.push(...(await source.more()))
    }
    return all.sort(byTime)
  }
}

type Decoder = (bytes: Buffer) => LogLine[]

function jsonDecoder(wanted: (line: LogLine) => boolean): Decoder {
  let rest: Buffer = Buffer.alloc(0)
  return (bytes) => {
    const split = splitLines(rest, bytes)
    rest = split.rest
    return split.lines.flatMap((line) => {
      try {
        const parsed = JSON.parse(line.toString('utf8')) as LogLine
        return wanted(parsed) ? [parsed] : []
      } catch {
        return [] // A line cut by a full disk.
      }
    })
  }
}

/** One file of a reader, with how far it has read. A file that appears later is read whole. */
class Source {
  readonly #path: string
  readonly #decode: Decoder
  #position: LogPosition = { inode: 0, offset: 0 }

  constructor(path: string, decode: Decoder) {
    this.#path = path
    this.#decode = decode
  }

  async tail(linesMax: number): Promise<LogLine[]> {
    const { bytes, position } = await readTail(this.#path, linesMax)
    this.#position = position
    const lines = this.#decode(bytes)
    return lines.slice(Math.max(0, lines.length - linesMax))
  }

  async more(): Promise<LogLine[]> {
    const chunk = await readMore(this.#path, this.#position)
    if (!chunk) return []
    this.#position = chunk.position
    return this.#decode(chunk.bytes)
  }
}
