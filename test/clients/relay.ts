import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { AnswerChecks } from '../../src/api/openapi/testing.ts'

/**
 * Stands between a real client and the API: passes everything on and holds every answer against the
 * OpenAPI document. What it finds is in `problems`, since the client would not tell.
 */
export interface Relay {
  readonly url: string
  readonly problems: string[]
  /** `GET /v1/apps/shop`, in the order in which they came. */
  readonly calls: string[]
  close(): Promise<void>
}

const BODY_BYTES_MAX = 1 << 20
const CALL_TIMEOUT_MS = 120_000

export async function startRelay(target: string, checks: AnswerChecks): Promise<Relay> {
  const problems: string[] = []
  const calls: string[] = []
  const pass = async (request: IncomingMessage, response: ServerResponse) => {
    const { method = 'GET', url: path = '/' } = request
    calls.push(`${method} ${path}`)
    const body = await bodyOf(request)
    const answer = await fetch(`${target}${path}`, {
      method,
      headers: passedOn(request),
      ...(body.length > 0 ? { body } : {}),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    })
    const text = await answer.text()
    const contentType = answer.headers.get('content-type') ?? undefined
    try {
      checks.check({ method, path, status: answer.status, contentType, text })
    } catch (error) {
      problems.push((error as Error).message)
    }
    const id = answer.headers.get('fly-request-id')
    response.writeHead(answer.status, {
      ...(contentType ? { 'content-type': contentType } : {}),
      ...(id ? { 'fly-request-id': id } : {}),
    })
    response.end(text)
  }
  const server = createServer((request, response) => {
    pass(request, response).catch((error: Error) => {
      problems.push(`${request.method} ${request.url}: ${error.message}`)
      response.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    problems,
    calls,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Error(`a body of more than ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Without what belongs to the connection. */
function passedOn({ headers }: IncomingMessage): Record<string, string> {
  const dropped = new Set(['host', 'connection', 'content-length', 'accept-encoding'])
  const kept = Object.entries(headers).filter(([name]) => !dropped.has(name))
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]))
}
