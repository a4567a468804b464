import type { IncomingMessage } from 'node:http'
import { backoffMs, type Clock } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { encodeLine, LineSplitter } from '../base/ndjson.ts'
import {
  type AgentCall,
  FEED_LINE_BYTES_MAX,
  FEED_SILENCE_MAX_MS,
  type FeedLine,
} from '../model/wire.ts'
import type { ControlClient } from './control-client.ts'
import { FeedCursor } from './feed-cursor.ts'

export interface ControlLinkDeps {
  readonly client: ControlClient
  readonly clock: Clock
  readonly random: () => number
  readonly log: Logger
  readonly silenceMsMax?: number
}

export interface FollowOptions {
  /** The revision that the follower has; 0 when it has nothing. */
  readonly after: number
  /** Called for every line but calls, in order; must not throw. */
  readonly onLine: (line: FeedLine) => void
  /** The lines that answer a call, until the signal aborts. Each becomes one line of JSON. */
  readonly onCall?: (call: AgentCall, signal: AbortSignal) => AsyncIterable<unknown>
  readonly onConnected?: (connected: boolean) => void
  readonly signal: AbortSignal
}

/** Calls that are answered at one time; more are left without an answer. */
export const CALLS_MAX = 64
const RETRY_MS = { firstMs: 50, maxMs: 1_000 }

/**
 * Follows the control plane until the signal aborts: reconnects after a loss or a silence, to the
 * next of its addresses, and resumes where it was. Resolves when following has ended.
 */
export async function followControl(deps: ControlLinkDeps, options: FollowOptions): Promise<void> {
  const { client, clock, random, log } = deps
  const { signal, onConnected } = options
  const cursor = new FeedCursor(options.after)
  const calls = new Set<string>()
  for (let failures = 0; !signal.aborted; failures++) {
    let isHeard = false
    try {
      await followOnce(deps, options, cursor, calls, () => {
        if (isHeard) return
        isHeard = true
        log.info({ url: client.url, after: cursor.after }, 'following the control plane')
        onConnected?.(true)
      })
    } catch (error) {
      if (signal.aborted) return
      const level = isHeard || failures === 0 ? 'warn' : 'debug'
      log[level]({ url: client.url, error: messageOf(error) }, 'the control plane is away')
    }
    if (isHeard) {
      failures = 0
      onConnected?.(false)
    }
    client.turn()
    await clock.sleep(backoffMs(failures, random, RETRY_MS), signal).catch(() => {})
  }
}

async function followOnce(
  deps: ControlLinkDeps,
  options: FollowOptions,
  cursor: FeedCursor,
  calls: Set<string>,
  onHeard: () => void,
): Promise<void> {
  const silenceMs = deps.silenceMsMax ?? FEED_SILENCE_MAX_MS
  const abort = new AbortController()
  const until = AbortSignal.any([options.signal, abort.signal])
  const reason = new FairwayError('silent', `it has said nothing for ${silenceMs} ms`)
  const silence = setTimeout(() => abort.abort(reason), silenceMs)
  try {
    const response = await deps.client.watch(cursor.after, until)
    await readLines(response, (line) => {
      silence.refresh()
      onHeard()
      if (line.t === 'call') return answer(deps, options, calls, line)
      cursor.take(line)
      options.onLine(line)
    })
  } catch (error) {
    throw abort.signal.aborted ? reason : error
  } finally {
    clearTimeout(silence)
    abort.abort()
  }
}

async function readLines(
  response: IncomingMessage,
  onLine: (line: FeedLine) => void,
): Promise<void> {
  const splitter = new LineSplitter(FEED_LINE_BYTES_MAX)
  for await (const chunk of response as AsyncIterable<Buffer>)
    for (const text of splitter.push(chunk)) onLine(JSON.parse(text) as FeedLine)
  throw new FairwayError('feed_ended', 'it has ended the feed')
}

/** Answers beside the feed: a call that takes long holds up nothing. */
function answer(
  { client, log }: ControlLinkDeps,
  { onCall, signal }: FollowOptions,
  calls: Set<string>,
  { id, call }: FeedLine & { t: 'call' },
): void {
  if (!onCall || calls.size >= CALLS_MAX) {
    log.warn({ method: call.method, underWay: calls.size }, 'a call is left without an answer')
    return
  }
  calls.add(id)
  client
    .answer(id, (until) => encodeAll(onCall(call, until)), signal)
    .catch((error) => log.warn({ method: call.method, error: messageOf(error) }, 'call failed'))
    .finally(() => calls.delete(id))
}

async function* encodeAll(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield encodeLine(value)
}
