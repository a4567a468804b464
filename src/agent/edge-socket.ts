import { chmodSync, renameSync, rmSync } from 'node:fs'
import http from 'node:http'
import { messageOf } from '../base/errors.ts'
import type { Explanation } from '../model/explanation.ts'
import type { ExplainQuestion } from '../proxy/explain/explainer.ts'

/** What an edge tells those of its own host, over HTTP on a unix socket that only its user may open. */
export interface EdgeAnswers {
  /** GET /metrics */
  readonly metrics: () => Promise<string>
  /** GET /explain?address=&port=&host= */
  readonly explain: (question: ExplainQuestion) => Promise<Explanation | null>
}

const CONNECTIONS_MAX = 64
const REQUEST_MS_MAX = 5_000

/** Made under a name of its own and moved: an older edge that ends takes away only its own. */
export function serveEdgeSocket(path: string, answers: EdgeAnswers): void {
  const own = `${path}.${process.pid}`
  rmSync(own, { force: true })
  const server = http.createServer((request, response) => {
    answer(answers, request.url ?? '/').then(
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
  server.on('error', (error) => console.error(`no metrics: ${messageOf(error)}`))
  server.listen(own, () => {
    chmodSync(own, 0o600)
    renameSync(own, path)
  })
}

async function answer(
  { metrics, explain }: EdgeAnswers,
  target: string,
): Promise<{ status: number; type: string; body: string }> {
  const url = new URL(target, 'http://edge')
  if (url.pathname === '/metrics')
    return { status: 200, type: 'text/plain; version=0.0.4', body: await metrics() }
  if (url.pathname !== '/explain')
    return { status: 404, type: 'text/plain', body: 'ask for /metrics or /explain\n' }
  const query = (name: string) => url.searchParams.get(name) ?? ''
  const port = Number(query('port'))
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    return { status: 400, type: 'text/plain', body: 'port: not a number from 1 to 65535\n' }
  const explanation = await explain({ address: query('address'), port, host: query('host') })
  return explanation
    ? { status: 200, type: 'application/json', body: JSON.stringify(explanation) }
    : { status: 503, type: 'text/plain', body: 'the worker did not answer\n' }
}
