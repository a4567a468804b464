import { chmodSync, renameSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { messageOf } from './errors.ts'

export interface LocalAnswer {
  readonly status: number
  readonly type: string
  readonly body: string
}

export const textAnswer = (status: number, body: string): LocalAnswer => ({
  ...{ status, type: 'text/plain', body },
})
export const jsonAnswer = (value: object): LocalAnswer => ({
  ...{ status: 200, type: 'application/json', body: JSON.stringify(value) },
})
/** The text format of Prometheus. */
export const metricsAnswer = (body: string): LocalAnswer => ({
  ...{ status: 200, type: 'text/plain; version=0.0.4', body },
})

const CONNECTIONS_MAX = 64
const REQUEST_MS_MAX = 5_000

/**
 * Answers those of the same host over HTTP on a unix socket that only its own user may open. A socket
 * that is there is replaced. `target`: of the request line. Throws when it cannot listen; what fails
 * later goes to `onError`.
 */
export async function serveLocalHttp(
  path: string,
  answer: (target: string) => Promise<LocalAnswer>,
  onError: (error: Error) => void,
): Promise<Server> {
  // Made under a name of its own and moved: an older process that ends takes away only its own.
  const own = `${path}.${process.pid}`
  rmSync(own, { force: true })
  const server = createServer((request, response) => {
    void answer(request.url ?? '/')
      .catch((error: unknown) => textAnswer(500, `${messageOf(error)}\n`))
      .then(({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type })
        response.end(body)
      })
  })
  server.maxConnections = CONNECTIONS_MAX
  server.requestTimeout = REQUEST_MS_MAX
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject).listen(own, resolve)
  await promise
  server.off('error', reject).on('error', onError)
  chmodSync(own, 0o600)
  renameSync(own, path)
  return server
}
