import { FAILURE_CODES, type FailureCode } from './errors.ts'

export type Protocol = 'connect' | 'http' | 'socks5'
export const PROTOCOLS: readonly Protocol[] = ['connect', 'http', 'socks5']

/** A worker's numbers; plain fields on the path, added up and named when somebody asks. */
export class OutboundCounters {
  accepted = 0
  open = 0
  /** Connections above CONNECTIONS_MAX. */
  refused = 0
  dials = 0
  /** Attempts that were given up for another address of ours. */
  failovers = 0
  bytesUp = 0
  bytesDown = 0
  lookups = 0
  /** Reads that found all of STREAM_BUFFERS_MAX in use. */
  streamsRefused = 0
  /** Connections that a fault of ours has closed. */
  faults = 0
  /** Log lines that were left out. */
  logDropped = 0
  readonly finished: Record<Protocol, number> = { connect: 0, http: 0, socks5: 0 }
  readonly failed = Object.fromEntries(FAILURE_CODES.map((code) => [code, 0])) as Record<
    FailureCode,
    number
  >

  snapshot(): CounterSnapshot {
    return { ...this, finished: { ...this.finished }, failed: { ...this.failed } }
  }
}

export type CounterSnapshot = Pick<
  OutboundCounters,
  | 'accepted'
  | 'open'
  | 'refused'
  | 'dials'
  | 'failovers'
  | 'bytesUp'
  | 'bytesDown'
  | 'lookups'
  | 'streamsRefused'
  | 'faults'
  | 'logDropped'
  | 'finished'
  | 'failed'
>
