import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { z } from 'zod'
import { drained } from '../base/drain.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { LineSplitter } from '../base/ndjson.ts'
import type { EdgeLine } from '../model/wire.ts'

export { type FeedFollower, followFeedSocket } from './feed-socket-client.ts'

/**
 * The feed on a host, over a unix socket that only its own user may open. A follower's first line says
 * from where (`{"t":"follow","after":N}`), its others are `EdgeLine`s; it gets `FeedLine`s.
 * Client: feed-socket-client.ts.
 */

/** Texts of lines for a follower that has the state at `after` (0: none). `FeedState` is one. */
export interface FeedSource {
  follow(after: number, signal: AbortSignal): AsyncIterable<string>
}

/** One follower as the agent sees it; each call has the same `follower` from begin to end. */
export interface FollowerEvents {
  line(follower: object, line: EdgeLine): void
  closed(follower: object): void
}

export interface FeedSocketOptions {
  readonly events: FollowerEvents
  readonly log: Logger
  readonly stallMsMax?: number
}

export interface FeedSocketServer {
  close(): Promise<void>
}

export const FOLLOWERS_MAX = 32
export const EDGE_LINE_BYTES_MAX = 64 * 1024
/** A follower that takes nothing for so long is cut off; it comes back and resumes. */
const STALL_MS_MAX = 10_000
const GREETING_MS_MAX = 2_000

const load = z.union([z.literal(0), z.literal(1), z.literal(2)])
const FollowRequest = z.object({ t: z.literal('follow'), after: z.int().min(0) })
const EdgeLineSchema: z.ZodType<EdgeLine> = z.discriminatedUnion('t', [
  z.object({ t: z.literal('hello'), pid: z.int() }),
  z.object({ t: z.literal('applied'), revision: z.int().min(0) }),
  z.object({ t: z.literal('load'), machine: z.string(), service: z.int().min(0), load }),
  z.object({
    t: z.literal('log'),
    line: z.object({
      timestamp: z.string(),
      app: z.string(),
      machine: z.string(),
      region: z.string(),
      host: z.string(),
      level: z.enum(['info', 'error', 'warn']),
      source: z.enum(['app', 'proxy', 'machine']),
      message: z.string(),
    }),
  }),
])

/** Serves the feed at `path` (mode 0600); what is left there of a server before is replaced. */
export async function serveFeedSocket(
  path: string,
  source: FeedSource,
  options: FeedSocketOptions,
): Promise<FeedSocketServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    serveFollower(socket, source, options)
  })
  server.maxConnections = FOLLOWERS_MAX
  rmSync(path, { force: true })
  const before = process.umask(0o177) // The socket is never open to others, not even at first.
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject).listen(path, resolve)
    await promise
  } finally {
    process.umask(before)
  }
  chmodSync(path, 0o600)
  server.on('error', (error) => options.log.error({ error: error.message }, 'feed socket'))
  return {
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function serveFollower(socket: Socket, source: FeedSource, options: FeedSocketOptions): void {
  const { events, log } = options
  const follower = {}
  const abort = new AbortController()
  const splitter = new LineSplitter(EDGE_LINE_BYTES_MAX)
  let following = false
  const greeting = setTimeout(() => socket.destroy(), GREETING_MS_MAX)
  const receive = (text: string) => {
    const value: unknown = JSON.parse(text)
    if (following) return events.line(follower, EdgeLineSchema.parse(value))
    const { after } = FollowRequest.parse(value)
    following = true
    clearTimeout(greeting)
    void pump(socket, source.follow(after, abort.signal), abort.signal, options)
  }
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const line of splitter.push(chunk)) receive(line)
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'a follower sent what it should not; cut off')
      socket.destroy()
    }
  })
  socket.on('error', () => {}) // Followed by `close`.
  socket.once('close', () => {
    clearTimeout(greeting)
    abort.abort()
    if (following) events.closed(follower)
  })
}

async function pump(
  socket: Socket,
  texts: AsyncIterable<string>,
  signal: AbortSignal,
  { log, stallMsMax = STALL_MS_MAX }: FeedSocketOptions,
): Promise<void> {
  try {
    for await (const text of texts) {
      if (signal.aborted) return
      if (socket.write(text) || (await drained(socket, signal, stallMsMax))) continue
      log.warn('a follower reads nothing; cut off')
      socket.destroy()
    }
  } catch (error) {
    log.error({ error: messageOf(error) }, 'a feed to a follower failed')
    socket.destroy()
  }
}
