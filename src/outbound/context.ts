import type { OnReadOpts, Socket } from 'node:net'
import type { Deadlines } from '../base/deadlines.ts'
import type { OnFault } from '../base/faults.ts'
import { ResponseHead } from '../base/http1/response-head.ts'
import { READ_BUFFER_BYTES, StreamBuffers } from '../base/stream-buffers.ts'
import type { OutboundCounters } from './counters.ts'
import type { Directory, Source } from './directory.ts'
import { STREAM_BUFFER_BYTES, STREAM_BUFFERS_MAX } from './limits.ts'
import type { Meter } from './meter.ts'
import type { Names } from './names.ts'
import { ProxyHead } from './proxy-head.ts'
import type { RequestLine } from './request-log.ts'

/** What a connection is opened with; reads go into buffers that are used again. */
export interface ConnectOptions {
  readonly address: string
  readonly family: 4 | 6
  readonly port: number
  readonly onread: OnReadOpts
}

/**
 * Begins to connect from a source (null: whatever the host chooses), half-open allowed. A source that
 * cannot be used shows as the socket's `error`.
 */
export type Connect = (options: ConnectOptions, source: Source | null) => Socket

export interface OpenConnection {
  /** Ends now when it is idle, else with what it is doing. */
  drain(): void
  destroy(): void
}

/** What all connections of a worker share. */
export interface OutboundContext {
  readonly directory: Directory
  readonly meter: Meter
  readonly names: Names
  readonly connect: Connect
  readonly deadlines: Deadlines
  readonly counters: OutboundCounters
  readonly connections: Set<OpenConnection>
  readonly scratch: Scratch
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly onLine: (line: RequestLine) => void
  draining: boolean
  /** Counts dials, so that each proxy's addresses take turns. */
  turn: number
}

/** Memory that is used within one callback and never beyond it. */
export class Scratch {
  readonly buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES)
  readonly streams: StreamBuffers
  readonly request = new ProxyHead()
  readonly response = new ResponseHead()

  readonly onFault: OnFault

  constructor(counters: OutboundCounters, onFault: OnFault) {
    this.onFault = (error) => {
      counters.faults++
      onFault(error)
    }
    const onRefused = () => void counters.streamsRefused++
    this.streams = new StreamBuffers(STREAM_BUFFER_BYTES, STREAM_BUFFERS_MAX, onRefused)
  }
}
