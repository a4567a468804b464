import { readFileSync, statSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { backoffMs, type Clock } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { SpanData } from '../proxy/observe/span.ts'
import { type OtlpResource, otlpRequest } from './otlp.ts'

/**
 * Sends spans to an OTLP/HTTP receiver: in batches, one at a time, with bounded waiting and bounded
 * tries. Whatever becomes of them, nothing waits for it.
 */

export const SPANS_WAITING_MAX = 4_096
export const SPANS_PER_BATCH_MAX = 512
export const EXPORT_TIMEOUT_MS = 10_000
/** How often a batch is sent when the receiver says that it may succeed later. */
export const EXPORT_TRIES_MAX = 4
const RETRY_MS = { firstMs: 500, maxMs: 5_000 }
const RETRY_AFTER_MS_MAX = 30_000
const ANSWER_BYTES_MAX = 64 * 1024
/** What OTLP says may be sent again. */
const RETRIED = new Set([429, 502, 503, 504])

export interface OtlpExporterOptions {
  readonly endpoint: string
  readonly headers: Readonly<Record<string, string>>
  readonly resource: OtlpResource
  readonly clock: Clock
  readonly random: () => number
  /** Says once in a while why spans are lost. Never the headers. */
  readonly onProblem: (message: string) => void
  readonly timeoutMs?: number
}

export interface OtlpCounts {
  readonly exported: number
  /** There was no room: the receiver is too slow, or away. */
  readonly overflowed: number
  /** The receiver refused them, or did not take them in time. */
  readonly failed: number
}

interface Answer {
  readonly status: number
  readonly retryAfterMs: number | null
  readonly body: string
}

export class OtlpExporter {
  readonly #options: OtlpExporterOptions
  readonly #url: URL
  readonly #agent: http.Agent
  #waiting: SpanData[] = []
  #running: Promise<void> | null = null
  readonly #stop = new AbortController()
  readonly #counts = { exported: 0, overflowed: 0, failed: 0 }
  #lastProblem = ''

  constructor(options: OtlpExporterOptions) {
    this.#options = options
    this.#url = new URL(`${options.endpoint.replace(/\/+$/, '')}/v1/traces`)
    const keepAlive = { keepAlive: true, maxSockets: 1 }
    this.#agent = this.#isTls ? new https.Agent(keepAlive) : new http.Agent(keepAlive)
  }

  get counts(): OtlpCounts {
    return this.#counts
  }

  add(spans: readonly SpanData[]): void {
    const room = SPANS_WAITING_MAX - this.#waiting.length
    this.#waiting.push(...spans.slice(0, room))
    this.#counts.overflowed += Math.max(0, spans.length - room)
    if (this.#stop.signal.aborted || this.#waiting.length === 0) return
    this.#running ??= this.#run().finally(() => {
      this.#running = null
    })
  }

  /** Gives what waits `ms` to be sent; the rest is lost. */
  async close(ms: number): Promise<void> {
    const timer = setTimeout(() => this.#stop.abort(), ms)
    await this.#running
    clearTimeout(timer)
    this.#stop.abort()
    this.#agent.destroy()
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#stop.signal.aborted) {
      const batch = this.#waiting.splice(0, SPANS_PER_BATCH_MAX)
      await this.#send(batch)
    }
  }

  async #send(batch: readonly SpanData[]): Promise<void> {
    const body = JSON.stringify(otlpRequest(batch, this.#options.resource))
    const { clock, random } = this.#options
    const { signal } = this.#stop
    for (let tries = 1; ; tries++) {
      const answer = await this.#post(body).catch((error) => messageOf(error))
      if (typeof answer !== 'string' && answer.status >= 200 && answer.status < 300) {
        this.#taken(batch.length, answer.body)
        return
      }
      const why = typeof answer === 'string' ? answer : `it answered ${answer.status}`
      const mayRetry = typeof answer === 'string' || RETRIED.has(answer.status)
      if (!mayRetry || tries >= EXPORT_TRIES_MAX || signal.aborted) {
        this.#counts.failed += batch.length
        this.#problem(`${this.#url.origin} does not take spans: ${why}`)
        return
      }
      const asked = typeof answer === 'string' ? null : answer.retryAfterMs
      await clock.sleep(asked ?? backoffMs(tries - 1, random, RETRY_MS), signal).catch(() => {})
    }
  }

  /** A receiver may take some of them only. */
  #taken(count: number, body: string): void {
    let rejected = 0
    try {
      const { partialSuccess } = JSON.parse(body) as {
        partialSuccess?: { rejectedSpans?: unknown; errorMessage?: unknown }
      }
      rejected = Math.min(count, Number(partialSuccess?.rejectedSpans ?? 0) || 0)
      if (rejected > 0)
        this.#problem(
          `${this.#url.origin} refused ${rejected} of ${count} spans: ` +
            String(partialSuccess?.errorMessage ?? '').slice(0, 200),
        )
    } catch {
      // An answer that is no JSON says nothing of rejections.
    }
    this.#counts.exported += count - rejected
    this.#counts.failed += rejected
  }

  #post(body: string): Promise<Answer> {
    const { headers, timeoutMs = EXPORT_TIMEOUT_MS } = this.#options
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(timeoutMs)])
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const request = (this.#isTls ? https : http).request(
      this.#url,
      {
        ...{ method: 'POST', agent: this.#agent, signal },
        headers: {
          ...headers,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
      },
      (response) => void readAnswer(response).then(resolve, reject),
    )
    request.on('error', reject)
    request.end(body)
    return promise
  }

  #problem(message: string): void {
    if (message === this.#lastProblem) return
    this.#lastProblem = message
    this.#options.onProblem(message)
  }

  get #isTls(): boolean {
    return this.#url.protocol === 'https:'
  }
}

async function readAnswer(response: http.IncomingMessage): Promise<Answer> {
  let body = ''
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>)
    if (body.length < ANSWER_BYTES_MAX) body += chunk
  const seconds = /^\d{1,5}$/.test(response.headers['retry-after'] ?? '')
    ? Number(response.headers['retry-after'])
    : null
  return {
    status: response.statusCode ?? 0,
    retryAfterMs: seconds === null ? null : Math.min(seconds * 1_000, RETRY_AFTER_MS_MAX),
    body,
  }
}

/** Header fields from a file that nobody else may read: they hold credentials. */
export function readHeadersFile(path: string): Record<string, string> {
  const fail = (why: string): never => {
    throw new FairwayError('bad_config', `traces.headersFile ${path}: ${why}`)
  }
  if ((statSync(path).mode & 0o077) !== 0)
    fail(`others may read it; take that away with chmod 600 ${path}`)
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    // Not the parser's message, which quotes the text.
    return fail('it is not JSON; write {"authorization": "Bearer ..."}')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return fail('it is not an object of header fields; write {"authorization": "Bearer ..."}')
  for (const [name, value] of Object.entries(parsed)) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) fail(`"${name}" is not a header's name`)
    if (typeof value !== 'string' || !/^[\x20-\x7e]*$/.test(value))
      fail(`the value of "${name}" is not visible ASCII text`)
  }
  return parsed as Record<string, string>
}
