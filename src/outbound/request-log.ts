import { isoTime } from '../base/clock.ts'
import type { Destination } from '../model/destination.ts'
import type { OutboundContext } from './context.ts'
import type { Protocol } from './counters.ts'
import type { OutboundUser } from './directory.ts'
import type { FailureCode } from './errors.ts'

/** One line of the request log: a tunnel, a forwarded request, or why there was none. */
export interface RequestLine {
  readonly time: string
  readonly proxy: string
  /** The credential's user name; empty when none was accepted. Secrets are never here. */
  readonly credential: string
  readonly protocol: Protocol
  readonly client: string
  /** As asked for, `host:port`; empty when the request did not come so far. */
  readonly destination: string
  /** What was dialled, and from which pair. */
  readonly address: string
  readonly family: 0 | 4 | 6
  readonly pair: string
  readonly bytesUp: number
  readonly bytesDown: number
  readonly durationMs: number
  readonly result: 'ok' | FailureCode
}

/** Gathers what the log says of one request. */
export class Transfer {
  user: OutboundUser | null = null
  destination: Destination | null = null
  address = ''
  family: 0 | 4 | 6 = 0
  pair = ''
  bytesUp = 0
  bytesDown = 0
  protocol: Protocol
  readonly #ctx: OutboundContext
  readonly #client: string
  readonly #beganAt: number
  #done = false

  constructor(ctx: OutboundContext, protocol: Protocol, client: string) {
    this.#ctx = ctx
    this.protocol = protocol
    this.#client = client
    this.#beganAt = ctx.now()
  }

  /** Writes the line, once. */
  finish(result: 'ok' | FailureCode): void {
    if (this.#done) return
    this.#done = true
    const { counters, now, onLine } = this.#ctx
    if (result === 'ok') counters.finished[this.protocol]++
    else counters.failed[result]++
    counters.bytesUp += this.bytesUp
    counters.bytesDown += this.bytesDown
    const { destination, user } = this
    const endedAt = now()
    onLine({
      time: isoTime(endedAt),
      proxy: user?.served.proxy ?? '',
      credential: user?.name ?? '',
      protocol: this.protocol,
      client: this.#client,
      destination: destination === null ? '' : hostPort(destination),
      address: this.address,
      family: this.family,
      pair: this.pair,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      durationMs: Math.max(0, endedAt - this.#beganAt),
      result,
    })
  }
}

export const hostPort = ({ host, family, port }: Destination): string =>
  family === 6 ? `[${host}]:${port}` : `${host}:${port}`
