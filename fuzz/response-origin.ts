import { once } from 'node:events'
import net from 'node:net'
import { readResponse } from './response-reference.ts'
import type { ResponseCase } from './responses.ts'

type CaseOf = (k: number) => ResponseCase

/** An app that says to `/case/K` what case K says, and to `/ok/K` that all is well. */
export class ResponseOrigin {
  readonly port: number
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  private constructor(server: net.Server, sockets: Set<net.Socket>) {
    this.#server = server
    this.#sockets = sockets
    this.port = (server.address() as net.AddressInfo).port
  }

  static async start(caseOf: CaseOf): Promise<ResponseOrigin> {
    const sockets = new Set<net.Socket>()
    const server = net.createServer({ noDelay: true }, (socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {})
      serve(socket, caseOf)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new ResponseOrigin(server, sockets)
  }

  stop(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** Requests have no body here. */
function serve(socket: net.Socket, caseOf: CaseOf): void {
  let text = ''
  socket.setEncoding('latin1').on('data', async (part) => {
    text += part
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) return
    const [, what, k] = /^[A-Z]+ \/(case|ok)\/(\d+) /.exec(text)!
    text = text.slice(end + 4)
    if (what === 'ok') socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${k!.length}\r\n\r\n${k}`)
    else await say(socket, caseOf(Number(k)))
  })
}

async function say(socket: net.Socket, told: ResponseCase): Promise<void> {
  for (const [i, segment] of told.segments.entries()) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    if (!socket.destroyed) socket.write(segment, 'latin1')
  }
  if (told.then === 'closes' || readResponse(told).needsClose) socket.end()
}
