import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { ApiMachine } from './api-types.ts'
import type { Io } from './io.ts'
import { runCli } from './program.ts'

/** A control plane of a few lines, over loopback, for tests of commands. */
export const TOKEN = 'fo1_test'
export const NOW_MS = Date.parse('2026-06-01T12:00:00Z')

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly body: unknown
  readonly headers: IncomingMessage['headers']
}

/** `status` and JSON body; a bare value is a body with status 200. */
export class Reply {
  readonly status: number
  readonly body: unknown
  constructor(status: number, body: unknown) {
    this.status = status
    this.body = body
  }
}

export type Route = (request: SeenRequest, ...captures: string[]) => unknown
export type GraphqlRoute = (variables: Record<string, unknown>) => unknown

export class FakeApi {
  readonly requests: SeenRequest[] = []
  readonly queries: string[] = []
  /** `GET /v1/apps/([^/]+)` as a pattern of the whole; the last that fits answers. */
  readonly routes: [RegExp, Route][] = []
  /** By the name of the root field or its alias. */
  readonly graphql: Record<string, GraphqlRoute> = {}
  readonly #server = createServer((request, response) => void this.#answer(request, response))
  url = ''

  on(pattern: string, route: Route): this {
    this.routes.unshift([new RegExp(`^${pattern}$`), route])
    return this
  }

  async listen(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done))
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    return this
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
  }

  /** `METHOD path` of everything that was asked, GraphQL by its root field. */
  get log(): string[] {
    return this.requests.map((r) => `${r.method} ${r.path}`)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const bytes = Buffer.concat(chunks)
    const url = new URL(request.url ?? '/', this.url)
    const json = request.headers['content-type'] === 'application/json' && bytes.length > 0
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: decodeURIComponent(url.pathname),
      query: Object.fromEntries(url.searchParams),
      body: json ? JSON.parse(bytes.toString('utf8')) : bytes,
      headers: request.headers,
    }
    this.requests.push(seen)
    const answer = await this.#route(seen)
    const reply = answer instanceof Reply ? answer : new Reply(200, answer)
    response.statusCode = reply.status
    response.setHeader('fly-request-id', 'req-1')
    response.end(typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body ?? {}))
  }

  async #route(request: SeenRequest): Promise<unknown> {
    if (request.headers.authorization !== `Bearer ${TOKEN}`) {
      return new Reply(401, { error: 'unauthorized' })
    }
    if (request.path === '/graphql') return this.#graphql(request)
    for (const [pattern, route] of this.routes) {
      const match = pattern.exec(`${request.method} ${request.path}`)
      if (match) return route(request, ...match.slice(1))
    }
    return new Reply(404, { error: `no such call: ${request.method} ${request.path}` })
  }

  #graphql({ body }: SeenRequest): unknown {
    const { query, variables } = body as { query: string; variables: Record<string, unknown> }
    this.queries.push(query)
    const field = /\{\s*(\w+)/.exec(query)?.[1] ?? ''
    const route = this.graphql[field]
    if (!route) return { errors: [{ message: `no answer for ${field}` }] }
    const data = route(variables)
    if (data instanceof Error) {
      return { data: null, errors: [{ message: data.message, extensions: { code: 'NOT_FOUND' } }] }
    }
    return { data: { [field]: data } }
  }
}

export interface Run {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly stdin?: string
  readonly env?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** Time that stands still and moves when somebody sleeps. */
export function steppingClock(): Clock {
  let nowMs = NOW_MS
  return {
    now: () => nowMs,
    sleep: async (ms) => {
      nowMs += ms
    },
  }
}

/** Runs a command line against the fake, without a terminal. */
export async function runAgainst(
  api: FakeApi | undefined,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Run> {
  let stdout = ''
  let stderr = ''
  const home = mkdtempSync(join(tmpdir(), 'fairway-cli-home-'))
  const io: Io = {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    stdin: (async function* () {
      yield options.stdin ?? ''
    })(),
    interactive: false,
    colour: false,
    env: {
      FAIRWAY_STATE: home,
      ...(api && { FLY_API_BASE_URL: api.url, FLY_API_TOKEN: TOKEN }),
      ...options.env,
    },
    cwd: options.cwd ?? home,
    clock: steppingClock(),
    random: () => 0.5,
    signal: options.signal ?? new AbortController().signal,
  }
  try {
    const code = await runCli(args, io)
    return { code, stdout, stderr }
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

export function fakeMachine(id: string, more: Partial<ApiMachine> = {}): ApiMachine {
  return {
    id,
    name: `name-${id}`,
    state: 'started',
    region: 'iad',
    instance_id: `instance-${id}`,
    private_ip: `fdaa:0:1:a7b:1:0:${id}:2`,
    host_status: 'ok',
    cordoned: false,
    created_at: '2026-06-01T11:00:00Z',
    updated_at: '2026-06-01T11:30:00Z',
    image_ref: { repository: 'hello', tag: '', digest: `sha256:${'a'.repeat(64)}` },
    config: {
      image: `registry.fairway.test/hello@sha256:${'a'.repeat(64)}`,
      env: {},
      init: { cmd: ['node', 'server.js'] },
      guest: { cpu_kind: 'shared', cpus: 1, memory_mb: 256 },
      metadata: {
        fly_platform_version: 'v2',
        fly_process_group: 'app',
        fly_release_id: 'rel-1',
        fly_release_version: '1',
      },
      services: [
        { protocol: 'tcp', internal_port: 8080, ports: [{ port: 80, handlers: ['http'] }] },
      ],
    },
    events: [{ id: 'e1', type: 'start', status: 'started', source: 'flyd', timestamp: NOW_MS }],
    checks: [
      { name: 'servicecheck-00-http-8080', status: 'passing', output: '200', updated_at: 'now' },
    ],
    ...more,
  }
}
