import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { isForCaller, messageOf } from '../base/errors.ts'
import { ulid } from '../base/ids.ts'
import { VERSION } from '../base/version.ts'
import type { Actor } from '../control/context.ts'
import { authenticate } from '../control/tokens.ts'
import { StoreLimitError } from '../store/store.ts'
import { registerApps } from './apps.ts'
import { registerArtifacts } from './artifacts.ts'
import { registerCertificates } from './certificates.ts'
import type { ApiContext } from './context.ts'
import { registerEgress } from './egress.ts'
import { registerEgressCalls } from './egress-calls.ts'
import { registerExec } from './exec.ts'
import { registerExplain } from './explain.ts'
import { registerGraphql } from './graphql/graphql.ts'
import { registerIpAssignments } from './ip-assignments.ts'
import { registerLogs } from './logs.ts'
import { registerMachines } from './machines.ts'
import { registerOpenApi } from './openapi/openapi.ts'
import { registerOrganizations } from './organizations.ts'
import { registerOutbound } from './outbound.ts'
import { registerPlatform } from './platform.ts'
import { registerReleases } from './releases.ts'
import { type Api, OK, Ok, TextPage, withZod } from './routes.ts'
import { registerSecrets } from './secrets.ts'
import { registerVolumes } from './volumes.ts'

/** The API that people and clients speak: Machines REST, its companion under /api/v1, and ours. */

/** JSON bodies. An artifact's stream has its own limit. */
export const BODY_BYTES_MAX = 1024 * 1024
/** To receive a whole request: an artifact over a slow line takes long. */
const REQUEST_TIMEOUT_MS = 600_000
const CONNECTION_IDLE_MS = 75_000

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls; set before any handler runs, but on public routes. */
    actor: Actor
    startedMs: number
  }
  interface FastifyContextConfig {
    /** Answers without a token. */
    public?: boolean
    /** Looks at the token itself, to refuse in its own way. */
    ownAuthentication?: boolean
  }
}

export function buildApi(context: ApiContext): FastifyInstance {
  const app = Fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: CONNECTION_IDLE_MS,
    genReqId: () => ulid(context.clock.now()),
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
  })
  app.decorateRequest('actor')
  app.decorateRequest('startedMs', 0)
  acceptEmptyJson(app)
  app.addHook('onRequest', async (request, reply) => {
    request.startedMs = performance.now()
    void reply.header('fly-request-id', request.id)
    const { config } = request.routeOptions
    if (config.public || config.ownAuthentication) return
    request.actor = await authenticate(context, request.headers.authorization)
  })
  app.addHook('onResponse', async (request, reply) => {
    const seconds = (performance.now() - request.startedMs) / 1_000
    const route = request.routeOptions.url ?? 'unknown'
    context.metrics.request(request.method, route, reply.statusCode, seconds)
  })
  app.setErrorHandler((error, request, reply) => answerError(context, error, request, reply))
  app.setNotFoundHandler((request, reply) => {
    const what = `${request.method} ${request.url.split('?')[0]}`
    return reply.code(404).send({ error: `no such call: ${what}`, status: 'not_found' })
  })
  const api = withZod(app)
  registerOpenApi(api, VERSION)
  registerRoutes(api, context)
  return app
}

const HEALTH = { tag: 'Platform', summary: 'Whether it serves', response: { 200: Ok } } as const
const METRICS = {
  tag: 'Platform',
  summary: "What it counts, in Prometheus' text",
  response: { 200: TextPage },
} as const

function registerRoutes(app: Api, context: ApiContext): void {
  app.get('/v1/health', { config: { public: true }, schema: HEALTH }, async () => OK)
  app.get('/metrics', { schema: METRICS }, async (_request, reply) => {
    void reply.type(context.metrics.registry.contentType)
    return context.metrics.registry.metrics()
  })
  registerApps(app, context)
  registerMachines(app, context)
  registerExec(app, context)
  registerIpAssignments(app, context)
  registerEgress(app, context)
  registerEgressCalls(app, context)
  registerExplain(app, context)
  registerOutbound(app, context)
  registerPlatform(app, context)
  registerSecrets(app, context)
  registerReleases(app, context)
  registerOrganizations(app, context)
  registerCertificates(app, context)
  registerVolumes(app, context)
  registerArtifacts(app, context)
  registerLogs(app, context)
  registerGraphql(app, context)
}

/** Some clients announce JSON on requests that have no body. */
function acceptEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.removeContentTypeParser('application/json')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined)
    else void parse(request, body as string, done)
  })
}

/** Fly's error bodies: `{"error", "status"}`; flyctl prints the first and looks at the second. */
export function answerError(
  { log }: Pick<ApiContext, 'log'>,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  if (isForCaller(error))
    return reply.code(error.status).send({ error: error.message, status: error.code })
  if (error instanceof StoreLimitError)
    return reply.code(413).send({ error: error.message, status: error.code })
  const { statusCode, code } = error as Partial<FastifyError>
  if (statusCode !== undefined && statusCode < 500) {
    const status = (code ?? 'invalid_request').replace(/^FST_(ERR_)?/, '').toLowerCase()
    return reply.code(statusCode).send({ error: messageOf(error), status })
  }
  const route = request.routeOptions.url
  log.error({ error: messageOf(error), stack: stackOf(error), route, id: request.id }, 'failed')
  const message = `something failed inside; the control plane's log has it under ${request.id}`
  return reply.code(500).send({ error: message, status: 'internal' })
}

const stackOf = (error: unknown): string | undefined =>
  error instanceof Error ? error.stack : undefined
