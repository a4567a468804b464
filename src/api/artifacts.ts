import { PassThrough, type Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { FairwayError, notFound } from '../base/errors.ts'
import { getApp } from '../control/apps.ts'
import { ARTIFACT_BYTES_MAX, artifactOf, openArtifact, putArtifact } from '../control/artifacts.ts'
import type { ApiContext } from './context.ts'
import { appPath, parseInput } from './input.ts'

/** Artifacts: a folder as .tar.gz, uploaded as a stream, kept under its SHA-256. */

const artifactPath = appPath.extend({ digest: z.string().max(80) })
const uploadQuery = z.looseObject({ digest: z.string().optional() })

export function registerArtifacts(app: FastifyInstance, context: ApiContext): void {
  const path = '/v1/apps/:app/artifacts'
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    const options = { bodyLimit: ARTIFACT_BYTES_MAX }
    scope.post(path, options, async (request, reply) => {
      const { app: name } = parseInput(appPath, request.params, 'path')
      const { digest } = parseInput(uploadQuery, request.query, 'query')
      const stream = bodyOf(request)
      // The rest of a refused upload stays unread: the connection cannot be used again.
      stream.once('error', () => reply.header('connection', 'close'))
      const input = { app: name, stream, expected: digest ?? null }
      const artifact = await putArtifact(context, request.actor, input)
      return reply.code(201).send(artifactObject(name, artifact))
    })
  })
  app.head(`${path}/:digest`, async (request, reply) => {
    const { artifact } = await find(context, request)
    return reply.header('content-length', artifact.size).type('application/gzip').send()
  })
  app.get(`${path}/:digest`, { exposeHeadRoute: false }, async (request, reply) => {
    const { artifact } = await find(context, request)
    const { stream, size } = await openArtifact(context, artifact.digest)
    return reply.header('content-length', size).type('application/gzip').send(stream)
  })
}

async function find(context: ApiContext, request: FastifyRequest) {
  const { app: name, digest } = parseInput(artifactPath, request.params, 'path')
  await getApp(context, request.actor, name)
  const artifact = await artifactOf(context, name, digest)
  if (!artifact) throw notFound(`artifact: app "${name}" has none with the digest ${digest}`)
  return { artifact }
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
