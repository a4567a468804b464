import type { Server } from 'node:https'
import type { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { z } from 'zod'
import { conflict, FairwayError, messageOf, notFound } from '../base/errors.ts'
import { openArtifact } from '../control/artifacts.ts'
import { type Credentials, followerOfCertificate, hostOfCertificate } from '../control/ca.ts'
import { freeDrained } from '../control/egress/drained.ts'
import { waitForLaunch } from '../control/egress/launch.ts'
import { rangeAll } from '../control/follow.ts'
import type { HostAckTable } from '../control/host-acks.ts'
import { type HostLiveness, rememberMeshKey } from '../control/machines/hosts.ts'
import { parseImage } from '../control/machines/image.ts'
import { belongs, machineNotFound } from '../control/machines/records.ts'
import {
  applyMachineReports,
  HostReportSchema,
  type TombLeases,
} from '../control/machines/report.ts'
import { openSecrets } from '../control/secrets.ts'
import { readOne } from '../control/transact.ts'
import { hostPrefixes, keys, PUBLIC_PREFIXES } from '../model/keys.ts'
import type { App, Machine } from '../model/resources.ts'
import type { LaunchSpec } from '../model/wire.ts'
import type { ApiContext } from './context.ts'
import { writeFeed } from './feed.ts'
import { parseInput, queryNumber } from './input.ts'
import { answerError } from './server.ts'

/**
 * What agents speak with: HTTPS, certificates at both ends. Who calls is what its certificate says,
 * never what it sends.
 */

export const REPORT_BYTES_MAX = 16 * 1024 * 1024
/** A host that reports faster than its reports are applied has to wait. */
export const REPORTS_WAITING_PER_HOST_MAX = 4
export const FEEDS_MAX = 1_024

export interface AgentsContext extends ApiContext {
  readonly edges: HostAckTable
  readonly egressAcks: HostAckTable
  readonly liveness: HostLiveness
  readonly tombs: TombLeases
}

type Peer =
  | { readonly role: 'host'; readonly id: string }
  | { readonly role: 'follower'; readonly id: string }

declare module 'fastify' {
  interface FastifyRequest {
    peer: Peer
  }
}

type AgentsServer = FastifyInstance<Server>

export function buildAgentsServer(context: AgentsContext, tls: Credentials): AgentsServer {
  const app = Fastify({
    logger: false,
    bodyLimit: REPORT_BYTES_MAX,
    forceCloseConnections: true,
    https: {
      key: tls.key,
      cert: tls.cert,
      ca: tls.ca,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    },
  })
  app.decorateRequest('peer')
  app.addHook('onRequest', async (request) => {
    request.peer = peerOf(context, request.raw.socket as TLSSocket)
  })
  app.setErrorHandler((error, request: FastifyRequest, reply: FastifyReply) =>
    answerError(context, error, request, reply),
  )
  registerFeed(app, context)
  registerReport(app, context)
  registerLaunch(app, context)
  registerAnswers(app, context)
  return app
}

function peerOf({ fleet }: ApiContext, socket: TLSSocket): Peer {
  const names = socket.getPeerCertificate().subjectaltname
  const host = hostOfCertificate(names)
  if (host !== undefined && fleet.host(host)) return { role: 'host', id: host }
  const follower = followerOfCertificate(names)
  if (follower !== undefined) return { role: 'follower', id: follower }
  const who = host === undefined ? 'the certificate is no host' : `host "${host}" is not configured`
  throw new FairwayError('forbidden', `${who}; add it to the control plane's configuration`, {
    status: 403,
  })
}

function hostOf(request: FastifyRequest): string {
  if (request.peer.role === 'host') return request.peer.id
  throw new FairwayError('forbidden', 'only hosts may ask this', { status: 403 })
}

function registerFeed(app: AgentsServer, context: AgentsContext): void {
  const feeds = new Set<AbortController>()
  app.addHook('preClose', async () => {
    for (const feed of feeds) feed.abort()
  })
  const query = z.looseObject({ from: queryNumber('from').default(0) })
  app.get('/agent/v1/watch', async (request, reply) => {
    const { from } = parseInput(query, request.query, 'query')
    if (feeds.size >= FEEDS_MAX) {
      const message = `${FEEDS_MAX} feeds are open already; try again later`
      throw new FairwayError('busy', message, { status: 429 })
    }
    const { peer } = request
    const prefixes = peer.role === 'host' ? hostPrefixes(peer.id) : PUBLIC_PREFIXES
    const calls = peer.role === 'host' ? context.calls.connect(peer.id) : undefined
    const abort = new AbortController()
    feeds.add(abort)
    void reply.hijack()
    reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson' })
    reply.raw.flushHeaders()
    try {
      const options = { prefixes, after: from }
      await writeFeed(context.store, options, reply.raw, abort.signal, calls?.lines)
      reply.raw.end()
    } catch (error) {
      context.log.warn({ ...peer, error: messageOf(error) }, 'feed failed')
      reply.raw.destroy()
    } finally {
      feeds.delete(abort)
      calls?.close()
    }
  })
}

function registerReport(app: AgentsServer, context: AgentsContext): void {
  const lanes = new Map<string, { waiting: number; tail: Promise<unknown> }>()
  app.post('/agent/v1/report', async (request) => {
    const host = hostOf(request)
    const report = parseInput(HostReportSchema, request.body, 'body')
    if (report.host !== host) {
      const message = `host "${report.host}": this connection is host "${host}"'s`
      throw new FairwayError('forbidden', message, { status: 403 })
    }
    context.edges.report(host, report.edgeRevision)
    context.egressAcks.report(host, report.egressRevision)
    context.metrics.report(host, report.machines.length)
    await Promise.all([
      context.liveness.renew(host),
      rememberMeshKey(context, host, report.meshPublicKey),
      // In order, so that an older report never overtakes a newer one.
      inLane(host, () => applyMachineReports(context, context.tombs, host, report.machines)),
      freeDrained(context, host, report.egressDrained),
    ])
    return { ok: true }
  })

  async function inLane(host: string, work: () => Promise<void>): Promise<void> {
    const lane = lanes.get(host) ?? { waiting: 0, tail: Promise.resolve() }
    lanes.set(host, lane)
    if (lane.waiting >= REPORTS_WAITING_PER_HOST_MAX) {
      const message = `${lane.waiting} reports of host "${host}" are waiting already`
      throw new FairwayError('busy', message, { status: 429 })
    }
    lane.waiting += 1
    const mine = lane.tail.then(work)
    lane.tail = mine.catch(() => {})
    await mine.finally(() => {
      lane.waiting -= 1
    })
  }
}

function registerLaunch(app: AgentsServer, context: AgentsContext): void {
  const path = z.object({ machine: z.string().max(64) })
  const query = z.looseObject({ instance: z.string().optional() })
  app.get('/agent/v1/launch/:machine', async (request): Promise<LaunchSpec> => {
    const { machine: id } = parseInput(path, request.params, 'path')
    const { instance } = parseInput(query, request.query, 'query')
    const machine = await readOne<Machine>(context.store, keys.machine(hostOf(request), id))
    const app = machine && (await readOne<App>(context.store, keys.app(machine.app)))
    // Another org may have taken the app's name anew, and its secrets are not this machine's.
    if (!machine || !app || !belongs(machine, app)) throw machineNotFound(id)
    if (instance !== undefined && instance !== machine.instanceId)
      throw conflict(`machine ${id} is at version ${machine.instanceId} by now, not ${instance}`)
    // Its first packet must find the way back, wherever in the region it enters.
    await waitForLaunch(context, machine)
    return {
      machine: id,
      instanceId: machine.instanceId,
      secrets: await openSecrets(context, machine.app, machine.secretsVersion),
      artifact: parseImage(machine.config.image, machine.app).digestHex,
    }
  })
  app.get('/agent/v1/artifacts/:digest', async (request, reply) => {
    const { digest } = parseInput(z.object({ digest: z.string() }), request.params, 'path')
    const hex = digest.replace(/^sha256:/, '')
    const { kvs } = await rangeAll(context.store, `machine/${hostOf(request)}/`)
    const used = kvs.some(({ value }) => {
      if (!value.includes(hex)) return false
      const { config, app: name } = JSON.parse(value) as Machine
      return parseImage(config.image, name).digestHex === hex
    })
    if (!used)
      throw notFound(`artifact sha256:${hex.slice(0, 64)}: no machine of this host uses it`)
    const { stream, size } = await openArtifact(context, hex)
    return reply.header('content-length', size).type('application/gzip').send(stream)
  })
}

function registerAnswers(app: AgentsServer, context: AgentsContext): void {
  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    const options = { bodyLimit: Number.MAX_SAFE_INTEGER }
    scope.post('/agent/v1/calls/:id', options, async (request, reply) => {
      const { id } = parseInput(z.object({ id: z.string() }), request.params, 'path')
      const body = (request.body as Readable | undefined) ?? request.raw
      await context.calls.answer(hostOf(request), id, body)
      // The reply is how the agent learns, in the middle of its body, that nobody reads on.
      if (!request.raw.complete) void reply.header('connection', 'close')
      return { ok: true }
    })
  })
}
