import net from 'node:net'
import { backoffMs } from '../base/clock.ts'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import { type EdgeLine, FEED_LINE_BYTES_MAX, FEED_SILENCE_MAX_MS } from '../model/wire.ts'

/** Lines to the agent that wait for a slow reader; more are dropped (the agent is asked for little). */
const PENDING_BYTES_MAX = 1024 * 1024

export interface EdgeFeedEvents {
  /** A line of the feed, not yet parsed. */
  onLine(text: string): void
  /** Connected anew: what the agent should know has to be said again. */
  onOpen(): void
}

/** Follows the agent's unix socket, for as long as the process lives: agents come and go. */
export class EdgeFeed {
  readonly #path: string
  readonly #events: EdgeFeedEvents
  #socket: net.Socket | null = null
  #attempt = 0
  #closed = false

  constructor(path: string, events: EdgeFeedEvents) {
    this.#path = path
    this.#events = events
    this.#connect()
  }

  /** Says a line to the agent; dropped when there is none. */
  say(line: EdgeLine): void {
    const socket = this.#socket
    if (!socket || socket.connecting || socket.writableLength > PENDING_BYTES_MAX) return
    socket.write(encodeLine(line))
  }

  close(): void {
    this.#closed = true
    this.#socket?.destroy()
  }

  #connect(): void {
    if (this.#closed) return
    const splitter = new LineSplitter(FEED_LINE_BYTES_MAX)
    const socket = net.connect({ path: this.#path })
    this.#socket = socket
    socket.setTimeout(FEED_SILENCE_MAX_MS, () => socket.destroy())
    socket.on('connect', () => {
      this.#attempt = 0
      this.say({ t: 'hello', pid: process.pid })
      this.#events.onOpen()
    })
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const text of splitter.push(chunk)) this.#events.onLine(text)
      } catch {
        socket.destroy() // A line without end: begin again.
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      const waitMs = backoffMs(this.#attempt++, Math.random, { firstMs: 50, maxMs: 1_000 })
      if (!this.#closed) setTimeout(() => this.#connect(), waitMs)
    })
  }
}
