import http from 'node:http'
import { messageOf } from '../base/errors.ts'
import { EXPLAIN_HEADER } from '../model/explanation.ts'

/** One real request that asks the edge to explain it, and what it looked like from the client's side. */
export interface LiveQuestion {
  readonly url: string
  readonly token: string
  /** Where to connect to instead of what the name resolves to; null: that. */
  readonly address: string | null
  readonly timeoutMs: number
}

/** Milliseconds since the request began; null: it did not come so far. */
export interface LiveAnswer {
  readonly address: string | null
  readonly lookupMs: number | null
  readonly connectMs: number | null
  readonly firstByteMs: number | null
  readonly status: number | null
  /** The edge's answer as it came: JSON, or null when there was none. */
  readonly explanation: string | null
  readonly error: string | null
}

/** Never throws: what went wrong is part of the answer. */
export async function liveRequest(question: LiveQuestion): Promise<LiveAnswer> {
  const began = performance.now()
  const since = () => Math.round((performance.now() - began) * 1000) / 1000
  let [address, lookupMs, connectMs] = [null, null, null] as [
    string | null,
    number | null,
    number | null,
  ]
  const url = new URL(question.url)
  const request = http.get({
    // Brackets are the URL's, not the address's.
    host: question.address ?? url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || 80,
    path: `${url.pathname}${url.search}`,
    headers: { host: url.host, [EXPLAIN_HEADER]: question.token, 'user-agent': 'fairway' },
    signal: AbortSignal.timeout(question.timeoutMs),
    agent: false,
  })
  request.on('socket', (socket) => {
    socket.on('lookup', () => {
      lookupMs = since()
    })
    socket.on('connect', () => {
      connectMs = since()
      address = socket.remoteAddress ?? null
    })
  })
  const { promise, resolve } = Promise.withResolvers<http.IncomingMessage | string>()
  request.on('response', resolve)
  request.on('error', (error) => resolve(messageOf(error)))
  const response = await promise
  const firstByteMs = since()
  const client = { address, lookupMs, connectMs }
  if (typeof response === 'string')
    return { ...client, firstByteMs: null, status: null, explanation: null, error: response }
  response.on('error', () => {})
  // The body is the app's business.
  response.destroy()
  const field = response.headers[EXPLAIN_HEADER.toLowerCase()]
  const explanation = typeof field === 'string' ? field : null
  return { ...client, firstByteMs, status: response.statusCode ?? null, explanation, error: null }
}
