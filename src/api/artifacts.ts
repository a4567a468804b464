import { PassThrough, type Readable } from 'node:stream'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { FairwayError, notFound } from '../base/errors.ts'
import { getApp } from '../control/apps.ts'
import { ARTIFACT_BYTES_MAX, artifactOf, openArtifact, putArtifact } from '../control/artifacts.ts'
import type { Actor } from '../control/context.ts'
import type { ApiContext } from './context.ts'
import { appPath } from './input.ts'
import { type Api, NoContent, Time, withZod } from './routes.ts'

/** Artifacts: a folder as .tar.gz, uploaded as a stream, kept under its SHA-256. */

const artifactPath = appPath.extend({ digest: z.string().max(80) })
const uploadQuery = z.looseObject({ digest: z.string().optional() })

const Artifact = z
  .object({ app: z.string(), digest: z.string(), size: z.int(), created_at: Time })
  .meta({ id: 'Artifact' })

const Bytes = z.custom<Readable>().meta({ type: 'string', format: 'binary' })

const tag = 'Releases'
const UPLOAD = {
  tag,
  summary: 'Takes a folder, packed as .tar.gz, to be run',
  params: appPath,
  querystring: uploadQuery,
  response: { 201: Artifact },
} as const
const HEAD = {
  tag,
  summary: 'Whether an app has an artifact',
  params: artifactPath,
  response: { 200: NoContent },
} as const
const DOWNLOAD = {
  tag,
  summary: 'An artifact, as it was sent',
  params: artifactPath,
  response: { 200: { content: { 'application/gzip': { schema: Bytes } } } },
} as const

export function registerArtifacts(api: Api, context: ApiContext): void {
  const path = '/v1/apps/:app/artifacts'
  void api.register(async (plain) => {
    plain.removeAllContentTypeParsers()
    plain.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    const scope = withZod(plain)
    const options = { bodyLimit: ARTIFACT_BYTES_MAX, schema: UPLOAD }
    scope.post(path, options, async (request, reply) => {
      const name = request.params.app
      const { digest } = request.query
      const stream = bodyOf(request)
      // The rest of a refused upload stays unread: the connection cannot be used again.
      stream.once('error', () => reply.header('connection', 'close'))
      const input = { app: name, stream, expected: digest ?? null }
      const artifact = await putArtifact(context, request.actor, input)
      return reply.code(201).send(artifactObject(name, artifact))
    })
  })
  api.head(`${path}/:digest`, { schema: HEAD }, async ({ actor, params }, reply) => {
    const artifact = await find(context, actor, params)
    return reply.header('content-length', artifact.size).type('application/gzip').send()
  })
  const download = { schema: DOWNLOAD, exposeHeadRoute: false }
  api.get(`${path}/:digest`, download, async ({ actor, params }, reply) => {
    const artifact = await find(context, actor, params)
    const { stream, size } = await openArtifact(context, artifact.digest)
    return reply.header('content-length', size).type('application/gzip').send(stream)
  })
}

async function find(context: ApiContext, actor: Actor, path: z.output<typeof artifactPath>) {
  const { app: name, digest } = path
  await getApp(context, actor, name)
  const artifact = await artifactOf(context, name, digest)
  if (!artifact) throw notFound(`artifact: app "${name}" has none with the digest ${digest}`)
  return artifact
}

/**
 * The body as a stream of its own: whoever gives up on it can destroy it without cutting the
 * connection on which the error is still to be sent.
 */
function bodyOf(request: FastifyRequest): Readable {
  const body = new PassThrough()
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > ARTIFACT_BYTES_MAX) {
    const message = `the upload has ${length} bytes; at most ${ARTIFACT_BYTES_MAX} are taken`
    throw new FairwayError('too_large', message, { status: 413 })
  }
  request.raw.once('close', () => {
    if (!request.raw.complete) body.destroy(new Error('the client stopped sending'))
  })
  return request.raw.pipe(body)
}

const artifactObject = (
  app: string,
  artifact: { digest: string; size: number; createdAt: string },
) => ({
  app,
  digest: `sha256:${artifact.digest}`,
  size: artifact.size,
  created_at: artifact.createdAt,
})
