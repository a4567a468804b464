import { createServer, type Server, type Socket } from 'node:net'
import { destinationText } from './destinations.ts'
import { INTERCEPT_PORT } from './inside-protocol.ts'
import { listenProblem } from './listeners.ts'
import { type Endpoint, tcpSockets } from './proc-net.ts'
import type { Reporter } from './reporter.ts'

const POLL_MS = 100
const LISTENERS_MAX = 256
const BACKLOG = 511

/**
 * Opens outside what the command listens at inside its network: the same address and port. Found by
 * looking at the network's sockets now and then, so a port is there up to `POLL_MS` later.
 */
export class ListenerRelay {
  readonly #servers = new Map<string, Server | null>()
  readonly #pid: number
  readonly #pass: (socket: Socket, host: string, port: number) => void
  readonly #reporter: Reporter
  readonly #timer: NodeJS.Timeout

  /** `pass` gets a connection from outside and where it goes inside. */
  constructor(
    pid: number,
    pass: (socket: Socket, host: string, port: number) => void,
    reporter: Reporter,
  ) {
    this.#pid = pid
    this.#pass = pass
    this.#reporter = reporter
    this.#timer = setInterval(() => this.#look(), POLL_MS)
  }

  close(): void {
    clearInterval(this.#timer)
    for (const server of this.#servers.values()) server?.close()
    this.#servers.clear()
  }

  #look(): void {
    const there = new Map<string, Endpoint>()
    for (const { isListening, local } of tcpSockets(this.#pid))
      if (isListening && local.port !== INTERCEPT_PORT) there.set(destinationText(local), local)
    for (const [key, server] of this.#servers) {
      if (there.has(key)) continue
      server?.close()
      this.#servers.delete(key)
    }
    for (const [key, at] of there) {
      if (this.#servers.has(key) || this.#servers.size >= LISTENERS_MAX) continue
      this.#open(key, at, there.has(`0.0.0.0:${at.port}`))
    }
  }

  /** `hasV4`: another socket has the port for IPv4, so this one on :: is for IPv6 alone. */
  #open(key: string, { host, port }: Endpoint, hasV4: boolean): void {
    const inside = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#pass(socket, inside, port),
    )
    // Null while it cannot be opened: said once, and tried again only after the command closed it.
    this.#servers.set(key, server)
    server.on('error', (error) => {
      this.#servers.set(key, null)
      this.#reporter.warn(
        `port ${port} of the command is not reachable: ${listenProblem(error, host, port)}`,
      )
    })
    server.listen({ host, port, backlog: BACKLOG, ipv6Only: hasV4 }, () =>
      this.#reporter.detail(`${key} of the command is reachable from outside`),
    )
  }
}
