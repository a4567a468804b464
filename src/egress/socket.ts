import { chmodSync, renameSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'

/** What a host tells of its egress, over HTTP on a unix socket that only its own user may open. */
export interface EgressSocket {
  /** GET /metrics */
  readonly metrics: () => Promise<string>
  /** GET /source/<private address>: by what the machine is seen; undefined when it is none of ours. */
  readonly source: (address: string) => object | undefined
}

const CONNECTIONS_MAX = 64
const REQUEST_MS_MAX = 5_000
const SOURCE = /^\/source\/([0-9a-fA-F.:%]{2,128})$/

/** Listens with mode 0600; a socket that is there is replaced. */
export async function serveEgressSocket(
  path: string,
  answers: EgressSocket,
  log: Logger,
): Promise<Server> {
  // Made under a name of its own and moved: an older agent that ends takes away only its own.
  const own = `${path}.${process.pid}`
  rmSync(own, { force: true })
  const server = createServer((request, response) => {
    answer(answers, request.url ?? '').then(
      ({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type })
        response.end(body)
      },
      (error: unknown) => {
        response.writeHead(500, { 'content-type': 'text/plain' })
        response.end(`${messageOf(error)}\n`)
      },
    )
  })
  server.maxConnections = CONNECTIONS_MAX
  server.requestTimeout = REQUEST_MS_MAX
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen(own, resolve)
  await promise
  server.off('error', reject)
  server.on('error', (error) => log.warn({ error: error.message }, 'socket of egress'))
  chmodSync(own, 0o600)
  renameSync(own, path)
  return server
}

async function answer(
  { metrics, source }: EgressSocket,
  url: string,
): Promise<{ status: number; type: string; body: string }> {
  if (url === '/metrics')
    return { status: 200, type: 'text/plain; version=0.0.4', body: await metrics() }
  const asked = SOURCE.exec(url)?.[1]
  const found = asked === undefined ? undefined : source(decodeURIComponent(asked))
  if (found) return { status: 200, type: 'application/json', body: JSON.stringify(found) }
  return { status: 404, type: 'text/plain', body: 'ask for /metrics or /source/<address>\n' }
}
