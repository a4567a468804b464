import { writeFileSync } from 'node:fs'
import { backoffMs, type Clock, isoTime } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { canonicalIp } from '../../base/ip.ts'
import type { Logger } from '../../base/log.ts'
import { type StreamOptions, streamLines } from '../../kernel/stream.ts'
import type { LogLine } from '../../model/wire.ts'
import { parseEntry, sourceOf } from './entry.ts'
import { sourceForms } from './usage.ts'

/** A machine's metadata that switches the log of its flows on: the value `true`. */
export const FLOW_LOG_KEY = 'fairway_flow_log'

export interface LoggedMachine {
  readonly id: string
  readonly app: string
  readonly v4: string
  readonly v6: string
}

export interface FlowLogDeps {
  readonly host: string
  readonly region: string
  readonly onLine: (line: LogLine) => void
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  /** For tests. */
  readonly stream?: (argv: readonly string[], options: StreamOptions) => Promise<void>
  readonly settings?: string
}

/** Lines of one machine; what comes faster is counted and left out. */
export const FLOW_LINES_PER_SECOND_MAX = 50
export const FLOW_LINES_AT_ONCE_MAX = 100
/** What was left out is told at most so often. */
const OMITTED_MS = 10_000
/** Events that the kernel keeps for us while we are busy. */
const QUEUE_BYTES = 8 * 1024 * 1024
const FOLLOW = [
  ...['conntrack', '-E', '-e', 'NEW,DESTROY', '-o', 'extended'],
  ...['-b', String(QUEUE_BYTES)],
]
const SETTINGS = '/proc/sys/net/netfilter'
const RETRY_MS = { firstMs: 200, maxMs: 10_000 }

interface Logged {
  readonly machine: LoggedMachine
  allowance: number
  refilledMs: number
  omitted: number
  toldMs: number
}

/**
 * New and ended flows of the machines that ask for it, as lines of their app's log: those that leave
 * the platform, with the source that they leave by. Runs `conntrack -E` only while there is such a machine.
 */
export class FlowLog {
  readonly #deps: FlowLogDeps
  readonly #bySource = new Map<string, Logged>()
  #machines = new Map<string, Logged>()
  #following: AbortController | undefined
  #omitted = 0

  constructor(deps: FlowLogDeps) {
    this.#deps = deps
  }

  /** Lines that were left out since the start, over all machines. */
  get omitted(): number {
    return this.#omitted
  }

  /** The machines whose flows are logged from now on. */
  apply(machines: Iterable<LoggedMachine>): void {
    const before = this.#machines
    this.#machines = new Map()
    this.#bySource.clear()
    for (const machine of machines) {
      const logged = { ...(before.get(machine.id) ?? this.#fresh()), machine }
      this.#machines.set(machine.id, logged)
      for (const form of sourceForms(machine)) this.#bySource.set(form, logged)
    }
    if (this.#machines.size === 0) this.close()
    else if (!this.#following) {
      this.#following = new AbortController()
      void this.#follow(this.#following.signal)
    }
  }

  close(): void {
    this.#following?.abort()
    this.#following = undefined
  }

  #fresh(): Omit<Logged, 'machine'> {
    const now = this.#deps.clock.now()
    return { allowance: FLOW_LINES_AT_ONCE_MAX, refilledMs: now, omitted: 0, toldMs: now }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { clock, random, log, stream = streamLines } = this.#deps
    this.#countBytes()
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        await stream(FOLLOW, { onLine: (line) => this.#event(line), signal })
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'flows cannot be followed; trying again')
      }
      if (signal.aborted) return
      await clock.sleep(backoffMs(failures, random, RETRY_MS), signal).catch(() => {})
    }
  }

  /** For flows from now on. Without, lines have no bytes and no duration. */
  #countBytes(): void {
    const { settings = SETTINGS, log } = this.#deps
    for (const name of ['nf_conntrack_acct', 'nf_conntrack_timestamp']) {
      try {
        writeFileSync(`${settings}/${name}`, '1')
      } catch (error) {
        log.warn({ setting: name, error: messageOf(error) }, 'flows are logged without all of it')
      }
    }
  }

  #event(line: string): void {
    const logged = this.#bySource.get(sourceOf(line))
    if (!logged) return
    const message = flowMessage(line)
    if (message === undefined) return
    if (!this.#allows(logged)) {
      logged.omitted += 1
      this.#omitted += 1
      return
    }
    this.#tell(logged)
    this.#say(logged, 'info', message)
  }

  #allows(logged: Logged): boolean {
    const now = this.#deps.clock.now()
    const refill = ((now - logged.refilledMs) / 1_000) * FLOW_LINES_PER_SECOND_MAX
    logged.allowance = Math.min(FLOW_LINES_AT_ONCE_MAX, logged.allowance + Math.max(0, refill))
    logged.refilledMs = now
    if (logged.allowance < 1) return false
    logged.allowance -= 1
    return true
  }

  #tell(logged: Logged): void {
    const now = this.#deps.clock.now()
    if (logged.omitted === 0 || now - logged.toldMs < OMITTED_MS) return
    const limit = `${FLOW_LINES_PER_SECOND_MAX} a second`
    this.#say(logged, 'warn', `flows: ${logged.omitted} lines left out, more than ${limit}`)
    logged.omitted = 0
    logged.toldMs = now
  }

  #say({ machine }: Logged, level: LogLine['level'], message: string): void {
    const { host, region, clock, onLine } = this.#deps
    const timestamp = isoTime(clock.now())
    const about = { timestamp, app: machine.app, machine: machine.id, region, host }
    onLine({ ...about, level, source: 'machine', message })
  }
}

const EVENT = /^ *\[(NEW|DESTROY)\] +/
const DURATION = / delta-time=(\d{1,10})(?: |$)/

/** The line of the log for a line of `conntrack -E`; undefined for what does not leave the platform. */
export function flowMessage(line: string): string | undefined {
  const kind = EVENT.exec(line)
  const entry = kind && parseEntry(line.slice(kind[0].length))
  if (!kind || !entry || entry.translated === entry.source) return undefined
  const { proto, translated, translatedPort, destination, destinationPort } = entry
  const flow = `${proto} ${ends(translated, translatedPort)} -> ${ends(destination, destinationPort)}`
  if (kind[1] === 'NEW') return `flow new ${flow}`
  const bytes =
    entry.bytesOut === null ? '' : ` sent ${entry.bytesOut} received ${entry.bytesIn ?? 0} bytes`
  const seconds = DURATION.exec(line)
  return `flow end ${flow}${bytes}${seconds ? ` in ${seconds[1]} s` : ''}`
}

function ends(address: string, port: number): string {
  const text = canonicalIp(address) ?? address
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`
}
