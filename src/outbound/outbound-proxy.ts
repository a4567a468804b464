import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import tls from 'node:tls'
import { createReadingServer } from '../base/accept.ts'
import { systemClock } from '../base/clock.ts'
import { Deadlines } from '../base/deadlines.ts'
import { fatal, type OnFault } from '../base/faults.ts'
import { SocketReader } from '../base/socket-reader.ts'
import { HttpClient } from './client-http.ts'
import { SocksClient } from './client-socks.ts'
import { type Connect, type OutboundContext, Scratch } from './context.ts'
import { type CounterSnapshot, OutboundCounters } from './counters.ts'
import type { Directory } from './directory.ts'
import { CONNECTIONS_MAX, TLS_HANDSHAKE_MS } from './limits.ts'
import type { Meter } from './meter.ts'
import { type Lookup, Names } from './names.ts'
import type { RequestLine } from './request-log.ts'

/** What clients speak on a port. */
export type Speaks = 'http' | 'socks5' | 'https'

export interface OutboundOptions {
  readonly directory: Directory
  readonly meter: Meter
  readonly lookup: Lookup
  readonly onLine: (line: RequestLine) => void
  /** Default: the host's own choice of source; see `plainConnect`. */
  readonly connect?: Connect
  /** PEM; without it, nothing speaks TLS. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Milliseconds since the epoch. */
  readonly now?: () => number
  /** A fault of ours that costs one connection; not given: it ends the process. */
  readonly onFault?: OnFault
}

const DRAIN_LOOK_MS = 50

/** The data path of the outbound proxy: one event loop, any number of listeners. */
export class OutboundProxy {
  readonly #ctx: OutboundContext
  readonly #servers: net.Server[] = []
  #tls: tls.Server | null = null

  constructor(options: OutboundOptions) {
    const now = options.now ?? systemClock.now
    const counters = new OutboundCounters()
    const deadlines = new Deadlines(() => performance.now())
    this.#ctx = {
      directory: options.directory,
      meter: options.meter,
      names: new Names(options.lookup, now),
      connect: options.connect ?? plainConnect,
      deadlines,
      counters,
      connections: new Set(),
      scratch: new Scratch(counters, options.onFault ?? fatal),
      now,
      onLine: options.onLine,
      draining: false,
      turn: 0,
    }
    if (options.tls) this.setCertificate(options.tls)
    deadlines.start()
  }

  /** New connections are given this certificate. */
  setCertificate(pem: { readonly cert: string; readonly key: string }): void {
    if (this.#tls) {
      this.#tls.setSecureContext(pem)
      return
    }
    const options = { ...pem, handshakeTimeout: TLS_HANDSHAKE_MS, allowHalfOpen: true }
    this.#tls = tls.createServer(options, (socket) => {
      new HttpClient(this.#ctx, socket, SocketReader.ofEvents(this.#ctx.scratch, socket))
    })
    this.#tls.on('tlsClientError', (_error, socket) => socket.destroy())
  }

  /**
   * Accepts on an address or an inherited descriptor. `speaks` by local port is for a transparent
   * listener, which takes several ports. Resolves to the port.
   */
  async listen(
    on: { readonly host: string; readonly port: number } | { readonly fd: number },
    speaks: Speaks | ((localPort: number) => Speaks | null),
  ): Promise<number> {
    const server = createReadingServer(this.#ctx.scratch, (socket, reader) => {
      const how = typeof speaks === 'function' ? speaks(socket.localPort ?? 0) : speaks
      this.#accept(socket, reader, how)
    })
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject)
    server.listen(on, resolve)
    await promise
    this.#servers.push(server)
    return (server.address() as net.AddressInfo | null)?.port ?? 0
  }

  snapshot(): CounterSnapshot {
    const { counters, names } = this.#ctx
    return {
      ...counters.snapshot(),
      lookups: names.asked,
    }
  }

  /** Ends idle connections, lets others finish for `ms`, then ends them. */
  async drain(ms: number): Promise<void> {
    const { connections } = this.#ctx
    this.#ctx.draining = true
    for (const server of this.#servers) server.close()
    for (const connection of connections) connection.drain()
    const until = performance.now() + ms
    while (connections.size > 0 && performance.now() < until) await delay(DRAIN_LOOK_MS)
    for (const connection of connections) connection.destroy()
    this.#ctx.deadlines.stop()
  }

  #accept(socket: net.Socket, reader: SocketReader, how: Speaks | null): void {
    const { connections, counters } = this.#ctx
    if (how === null || connections.size >= CONNECTIONS_MAX || (how === 'https' && !this.#tls)) {
      counters.refused++
      socket.on('error', () => {})
      socket.resetAndDestroy()
    } else if (how === 'http') new HttpClient(this.#ctx, socket, reader)
    else if (how === 'socks5') new SocksClient(this.#ctx, socket, reader)
    else {
      socket.on('error', () => {})
      this.#tls!.emit('connection', socket)
    }
  }
}

/** From whatever address the host chooses. */
export const plainConnect: Connect = ({ address, family, port, onread }) =>
  net.connect({ host: address, family, port, onread, allowHalfOpen: true, noDelay: true })
