import { createConnection, type Socket } from 'node:net'
import { backoffMs } from '../base/clock.ts'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import {
  type EdgeLine,
  FEED_LINE_BYTES_MAX,
  FEED_SILENCE_MAX_MS,
  type FeedLine,
} from '../model/wire.ts'
import { FeedCursor } from './feed-cursor.ts'

export interface FollowFeedOptions {
  /** The revision that the follower has; 0 when it has nothing. */
  readonly after: number
  /** Called for every line, in order; must not throw. */
  readonly onLine: (line: FeedLine) => void
  /** The agent has been reached, or lost. */
  readonly onConnected?: (connected: boolean) => void
  readonly signal: AbortSignal
  readonly silenceMsMax?: number
  readonly retryMsMax?: number
}

export interface FeedFollower {
  /** Never blocks: what cannot be sent now is sent later, or not at all (see `EdgeOutbox`). */
  send(line: EdgeLine): void
}

const RETRY_FIRST_MS = 20
const RETRY_MS_MAX = 1_000
export const OUTBOX_LOGS_MAX = 1_000
export const OUTBOX_LOADS_MAX = 20_000
const UNSENT_BYTES_MAX = 1024 * 1024

/**
 * Follows the feed at a unix socket until the signal aborts: after a loss it connects again, and
 * resumes where it was.
 */
export function followFeedSocket(path: string, options: FollowFeedOptions): FeedFollower {
  const { signal, retryMsMax = RETRY_MS_MAX } = options
  const cursor = new FeedCursor(options.after)
  const outbox = new EdgeOutbox()
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  const connect = () => {
    if (signal.aborted) return
    const socket = createConnection(path)
    followOnce(socket, cursor, outbox, options, () => {
      failures = 0
    })
    socket.once('close', () => {
      outbox.detach(socket)
      const limits = { firstMs: RETRY_FIRST_MS, maxMs: retryMsMax }
      if (!signal.aborted) timer = setTimeout(connect, backoffMs(failures++, Math.random, limits))
    })
  }
  signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
  connect()
  return { send: (line) => outbox.send(line) }
}

function followOnce(
  socket: Socket,
  cursor: FeedCursor,
  outbox: EdgeOutbox,
  options: FollowFeedOptions,
  onFirstLine: () => void,
): void {
  const { signal, onLine, onConnected, silenceMsMax = FEED_SILENCE_MAX_MS } = options
  const splitter = new LineSplitter(FEED_LINE_BYTES_MAX)
  const abort = () => socket.destroy()
  let connected = false
  signal.addEventListener('abort', abort, { once: true })
  // Not the socket's own time-out: what is sent would count as a sign of the other's life.
  const silence = setTimeout(abort, silenceMsMax)
  socket.once('connect', () => {
    connected = true
    socket.write(encodeLine({ t: 'follow', after: cursor.after }))
    outbox.attach(socket)
    onConnected?.(true)
  })
  socket.on('data', (chunk: Buffer) => {
    silence.refresh()
    onFirstLine()
    try {
      for (const text of splitter.push(chunk)) {
        const line = JSON.parse(text) as FeedLine
        cursor.take(line)
        onLine(line)
      }
    } catch {
      socket.destroy() // The agent is of another kind or cut a line; the next connection may be better.
    }
  })
  socket.on('error', () => {}) // Followed by `close`.
  socket.once('close', () => {
    clearTimeout(silence)
    signal.removeEventListener('abort', abort)
    if (connected) onConnected?.(false)
  })
}

/**
 * What an edge has to tell, while its agent is there and while it is not. Facts (`applied`, `load`)
 * are kept by their newest value and told again to every new agent; log lines wait in a queue, of
 * which the oldest are dropped.
 */
class EdgeOutbox {
  #socket: Socket | undefined
  #hello: EdgeLine | undefined
  #applied: EdgeLine | undefined
  readonly #loads = new Map<string, EdgeLine & { t: 'load' }>()
  readonly #logs: EdgeLine[] = []
  #isDirty = false

  attach(socket: Socket): void {
    this.#socket = socket
    socket.on('drain', () => this.#drain())
    this.#tellAll()
  }

  detach(socket: Socket): void {
    if (this.#socket === socket) this.#socket = undefined
  }

  send(line: EdgeLine): void {
    this.#remember(line)
    const socket = this.#socket
    if (socket && !this.#isDirty && socket.writableLength < UNSENT_BYTES_MAX)
      socket.write(encodeLine(line))
    else if (line.t === 'log') this.#queue(line)
    else this.#isDirty = true
  }

  #remember(line: EdgeLine): void {
    if (line.t === 'hello') this.#hello = line
    else if (line.t === 'applied') this.#applied = line
    else if (line.t === 'load') {
      const id = `${line.machine}/${line.service}`
      this.#loads.delete(id)
      this.#loads.set(id, line)
      if (this.#loads.size > OUTBOX_LOADS_MAX)
        this.#loads.delete(this.#loads.keys().next().value as string)
    }
  }

  #queue(line: EdgeLine): void {
    this.#logs.push(line)
    if (this.#logs.length > OUTBOX_LOGS_MAX) this.#logs.shift()
  }

  #drain(): void {
    if (this.#isDirty) this.#tellAll()
    else this.#sendLogs()
  }

  #tellAll(): void {
    this.#isDirty = false
    let text = ''
    for (const line of [this.#hello, this.#applied, ...this.#loads.values()])
      if (line) text += encodeLine(line)
    // Zero is what an agent assumes of a service that nobody mentions.
    for (const [id, line] of this.#loads) if (line.load === 0) this.#loads.delete(id)
    if (text) this.#socket?.write(text)
    this.#sendLogs()
  }

  #sendLogs(): void {
    for (const line of this.#logs.splice(0)) this.#socket?.write(encodeLine(line))
  }
}
