import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/**
 * Node's own server as an origin, and as what stands behind nginx and HAProxy: tells the parent what
 * it saw. A process of its own, so that a crash shows.
 */
export interface Record {
  readonly origin: string
  readonly method: string
  readonly target: string
  /** Names and values by turns, as they came. */
  readonly fields: readonly string[]
  readonly trailers: readonly string[]
  readonly bodyBytes: number
  /** SHA-1, hexadecimal. */
  readonly digest: string
}

/** A head that the origin would not read. */
export interface Refusal {
  readonly origin: string
  readonly refused: string
}

const HEAD_BYTES_MAX = 256 * 1024

process.on('disconnect', () => process.exit())
const names = process.argv.slice(2)
const ports: { [name: string]: number } = {}
for (const name of names) ports[name] = await listen(name)
process.send!({ ports })

function listen(origin: string): Promise<number> {
  const server = http.createServer({
    ...{ maxHeaderSize: HEAD_BYTES_MAX, keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 },
    requireHostHeader: false,
  })
  server.maxHeadersCount = 0
  const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) =>
    record(origin, request, response)
  server.on('request', onRequest)
  server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    response.writeContinue()
    onRequest(request, response)
  })
  server.on('checkExpectation', onRequest)
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    // What comes after a head that was refused is no second one.
    if (!socket.writable) return
    // The edge went away in the middle of a body, as it should when the client does.
    const isOver = error.code === 'HPE_INVALID_EOF_STATE' || error.code === 'ECONNRESET'
    if (!isOver) process.send!({ origin, refused: `${error.code} ${error.message}` })
    socket.end(
      `HTTP/1.1 400 Bad Request\r\nConnection: close\r\nX-Origin: ${origin}\r\nContent-Length: 0\r\n\r\n`,
    )
  })
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

function record(
  origin: string,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): void {
  const hash = createHash('sha1')
  let bodyBytes = 0
  request.on('data', (part: Buffer) => {
    bodyBytes += part.length
    hash.update(part)
  })
  request.on('error', () => {})
  request.on('end', () => {
    const { method, url: target, rawHeaders: fields, rawTrailers: trailers } = request
    const seen: Record = {
      ...{ origin, method: method!, target: target!, fields, trailers, bodyBytes },
      digest: hash.digest('hex'),
    }
    process.send!(seen)
    response.setHeader('X-Saw', String(request.headers['fly-request-id']))
    response.end('seen\n')
  })
}
