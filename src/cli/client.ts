import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { backoffMs } from '../base/clock.ts'
import { FairwayError, messageOf } from '../base/errors.ts'
import type { Endpoint } from './endpoint.ts'
import { ApiError, cancelled, deadline } from './errors.ts'
import type { Io } from './io.ts'

type Method = 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'DELETE'

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
  /** Tidies up: sent even after the person interrupted, and given little time then. */
  readonly cleanUp?: boolean
}

/** Longer than the longest `wait` of the API (60 s). */
const REQUEST_TIMEOUT_MS = 75_000
const JSON_TYPE = 'application/json'
const UPLOAD_TIMEOUT_MS = 600_000
const CLEAN_UP_TIMEOUT_MS = 3_000
const ATTEMPTS_MAX = 4
/** An answer of the API is JSON for a person; what is larger is something else. */
const BODY_BYTES_MAX = 64 * 1024 * 1024
const LINE_BYTES_MAX = 1024 * 1024
/** Sent again without harm (RFC 9110, 9.2.2). */
const IDEMPOTENT = new Set<Method>(['GET', 'HEAD', 'DELETE'])
const RETRIED_STATUS = new Set([502, 503])

/**
 * The API over HTTP. Methods return the answer's JSON as the type that the caller names; answers of
 * the API are trusted to have the documented shape. Errors: ApiError for what the API refuses,
 * FairwayError `unreachable`, `deadline`, `cancelled`.
 */
export class Client {
  readonly endpoint: Endpoint
  readonly #io: Io
  readonly #trace: (line: string) => void

  constructor(endpoint: Endpoint, io: Io, trace: (line: string) => void = () => {}) {
    this.endpoint = endpoint
    this.#io = io
    this.#trace = trace
  }

  get<T>(path: string, query: RequestOptions['query'] = {}): Promise<T> {
    return this.request<T>('GET', path, { query })
  }

  post<T>(path: string, body?: unknown, options: RequestOptions = {}): Promise<T> {
    return this.request<T>('POST', path, { ...options, body })
  }

  async request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
    const { body } = options
    const response = await this.#send(
      method,
      this.#url(path, options.query),
      IDEMPOTENT.has(method),
      {
        headers: {
          ...(body === undefined ? {} : { 'content-type': JSON_TYPE }),
          ...options.headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        timeoutMs:
          options.timeoutMs ?? (options.cleanUp ? CLEAN_UP_TIMEOUT_MS : REQUEST_TIMEOUT_MS),
        ...(options.cleanUp && { cleanUp: true }),
      },
    )
    const text = await readText(response)
    if (!response.ok) throw apiError(response, text, this.endpoint)
    return parseJson(text) as T
  }

  /** Runs one GraphQL operation; the first of its errors is thrown. */
  async graphql<T>(query: string, variables: Record<string, unknown> = {}): Promise<T> {
    const response = await this.#send(
      'POST',
      `${this.endpoint.graphql}/graphql`,
      !/^\s*mutation\b/.test(query),
      {
        headers: { 'content-type': JSON_TYPE },
        body: JSON.stringify({ query, variables }),
        timeoutMs: REQUEST_TIMEOUT_MS,
      },
    )
    const text = await readText(response)
    if (!response.ok) throw apiError(response, text, this.endpoint)
    const answer = parseJson(text) as GraphqlAnswer<T>
    const [error] = answer.errors ?? []
    if (error) {
      const code = error.extensions?.code
      const message = withAppFix(error.message, variables.appName)
      throw new ApiError(message, { status: code === 'NOT_FOUND' ? 404 : 422, code })
    }
    if (!answer.data) throw new ApiError('GraphQL answered without data.', { status: 502 })
    return answer.data
  }

  /** Whether the API has something at `path`. */
  async exists(path: string): Promise<boolean> {
    const response = await this.#send('HEAD', this.#url(path), true, {
      headers: {},
      timeoutMs: REQUEST_TIMEOUT_MS,
    })
    await response.body?.cancel()
    if (response.ok) return true
    if (response.status === 404) return false
    throw apiError(response, '', this.endpoint)
  }

  /** Sends a file as the body. Not sent again after a failure: the caller may call again. */
  async upload<T>(path: string, query: RequestOptions['query'], file: string, bytes: number) {
    const response = await this.#send('POST', this.#url(path, query), false, {
      headers: { 'content-type': 'application/gzip', 'content-length': String(bytes) },
      body: Readable.toWeb(createReadStream(file)) as ReadableStream,
      timeoutMs: UPLOAD_TIMEOUT_MS,
    })
    const text = await readText(response)
    if (!response.ok) throw apiError(response, text, this.endpoint)
    return parseJson(text) as T
  }

  /**
   * Lines of an NDJSON answer as they come; without a time-out, until the API ends it or `signal`
   * fires. With a body it is a POST. `onOpen` is called when the API has begun to answer.
   */
  async *lines(
    path: string,
    query: RequestOptions['query'],
    options: { body?: unknown; signal?: AbortSignal; onOpen?: () => void } = {},
  ): AsyncGenerator<string> {
    const { body, signal } = options
    const posts = body !== undefined
    const response = await this.#send(posts ? 'POST' : 'GET', this.#url(path, query), !posts, {
      headers: { accept: 'application/x-ndjson', ...(posts && { 'content-type': JSON_TYPE }) },
      ...(posts && { body: JSON.stringify(body) }),
      ...(signal && { signal }),
    })
    if (!response.ok) throw apiError(response, await readText(response), this.endpoint)
    options.onOpen?.()
    const decoder = new TextDecoder()
    let rest = ''
    try {
      for await (const chunk of response.body ?? []) {
        const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n')
        rest = parts.pop() ?? ''
        if (rest.length > LINE_BYTES_MAX) throw new ApiError('A line has no end.', { status: 502 })
        yield* parts.filter((line) => line !== '')
      }
    } catch (error) {
      if (this.#io.signal.aborted) throw cancelled()
      if (signal?.aborted) return
      throw new ApiError(`The answer was cut off: ${causeText(error)}.`, { status: 502 })
    }
    if (rest !== '') yield rest
  }

  #url(path: string, query: RequestOptions['query'] = {}): string {
    const base = path.startsWith('/api/') ? this.endpoint.uiex : this.endpoint.machines
    const url = new URL(base + path)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    return url.href
  }

  /** One exchange, again when that is harmless and may help (flyctl-api 1.2). */
  async #send(method: Method, url: string, idempotent: boolean, init: Init): Promise<Response> {
    for (let attempt = 0; ; attempt++) {
      const last = attempt + 1 >= ATTEMPTS_MAX
      const outcome = await this.#exchange(method, url, init)
      if ('response' in outcome) {
        if (last || !idempotent || !RETRIED_STATUS.has(outcome.response.status)) {
          return outcome.response
        }
        await outcome.response.body?.cancel()
      } else if (last || !(idempotent || outcome.refused) || init.body instanceof ReadableStream) {
        throw unreachable(url, outcome.error)
      }
      await this.#io.clock.sleep(backoffMs(attempt, this.#io.random, { maxMs: 1_000 }))
    }
  }

  async #exchange(
    method: Method,
    url: string,
    { headers, body, timeoutMs, signal, cleanUp = false }: Init,
  ): Promise<{ response: Response } | { error: unknown; refused: boolean }> {
    const timeout = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs)
    const interrupt = cleanUp ? undefined : this.#io.signal
    const startedMs = this.#io.clock.now()
    try {
      const response = await fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${this.endpoint.token}`,
          accept: 'application/json',
          'user-agent': 'fairway',
          ...headers,
        },
        redirect: 'manual',
        signal: AbortSignal.any([interrupt, timeout, signal].filter((one) => one !== undefined)),
        ...(body === undefined ? {} : { body }),
        ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
      } as RequestInit)
      this.#trace(`${method} ${url} ${response.status} ${this.#io.clock.now() - startedMs} ms`)
      return { response }
    } catch (error) {
      if (interrupt?.aborted) throw cancelled()
      if (timeout?.aborted) throw deadline(`${method} ${url} did not answer in ${timeoutMs} ms.`)
      this.#trace(`${method} ${url} failed: ${causeText(error)}`)
      return { error, refused: causeCode(error) === 'ECONNREFUSED' }
    }
  }
}

interface Init {
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | ReadableStream
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly cleanUp?: boolean
}

interface GraphqlAnswer<T> {
  readonly data?: T | null
  readonly errors?: readonly { message: string; extensions?: { code?: string } }[]
}

async function readText(response: Response): Promise<string> {
  const length = Number(response.headers.get('content-length') ?? 0)
  if (length > BODY_BYTES_MAX) {
    await response.body?.cancel()
    throw new ApiError(`The answer is larger than ${BODY_BYTES_MAX} bytes.`, { status: 502 })
  }
  return response.text()
}

function parseJson(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** The API's text for an unknown app says neither which nor what to do. */
const withAppFix = (message: string, app: unknown): string =>
  message === 'Could not find App' && typeof app === 'string'
    ? `Could not find App "${app}". \`fairway apps list\` shows those that you have.`
    : message

/** `message` wins over `error`; what is not JSON is shown as it is (flyctl-api 2.2). */
function apiError(response: Response, text: string, endpoint: Endpoint): ApiError {
  const body = parseJson(text) as { message?: unknown; error?: unknown; status?: unknown } | string
  const said = typeof body === 'string' ? body : (body.message ?? body.error)
  const { status } = response
  const app = /\/apps\/([^/?]+)/.exec(response.url)?.[1]
  const message = said ? withAppFix(String(said), app) : `${response.url} answered ${status}`
  const fix =
    status === 401
      ? ` The token is from ${endpoint.tokenSource}; ` +
        'unset FLY_API_TOKEN and FLY_ACCESS_TOKEN to use the running world.'
      : ''
  return new ApiError(message + fix, {
    status,
    code: typeof body === 'object' && typeof body.status === 'string' ? body.status : undefined,
    requestId: response.headers.get('fly-request-id') ?? undefined,
  })
}

/** fetch hides the system's error in `cause`. */
const causeOf = (error: unknown): unknown =>
  error instanceof Error && error.cause !== undefined ? error.cause : error
const causeText = (error: unknown): string => messageOf(causeOf(error)) || String(causeCode(error))
const causeCode = (error: unknown): unknown => (causeOf(error) as { code?: unknown }).code

function unreachable(url: string, cause: unknown): FairwayError {
  const { origin } = new URL(url)
  const what = causeText(cause)
  return new FairwayError(
    'unreachable',
    `Nothing answers at ${origin} (${what}). Run \`npm run up\` to start the world, ` +
      'or correct FLY_API_BASE_URL.',
    { cause },
  )
}
