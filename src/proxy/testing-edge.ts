import { once } from 'node:events'
import net from 'node:net'
import { EdgeProxy, type EdgeProxyOptions } from './edge-proxy.ts'
import type { AppLogLine } from './errors/app-log.ts'
import { type TestApp, type TestHost, type TestService, testView } from './testing.ts'

/** An edge, apps and clients on loopback, for tests. Everything ends with `close`. */

export const ADDRESS = '203.0.113.5'
export const SHARED = '203.0.113.1'

export interface TestEdge {
  readonly port: number
  readonly backhaulPort: number
  readonly proxy: EdgeProxy
  readonly logs: AppLogLine[]
  readonly view: ReturnType<typeof testView>
  count(name: 'retries' | 'connections'): number
  limit(name: string): number
  error(code: string): number
}

export class Lab {
  readonly #closers: (() => void)[] = []

  close(): void {
    for (const close of this.#closers.splice(0)) close()
  }

  later(close: () => void): void {
    this.#closers.push(close)
  }

  /** An edge with these apps; its one listener stands for `address`:`port`. */
  async edge(
    apps: readonly TestApp[],
    options: Partial<EdgeProxyOptions> & {
      readonly hosts?: readonly TestHost[]
      readonly address?: string
      readonly listenPort?: number
    } = {},
  ): Promise<TestEdge> {
    const { address = ADDRESS, listenPort = 80, hosts, ...rest } = options
    const view = testView(apps, hosts, [SHARED])
    const logs: AppLogLine[] = []
    const proxy = new EdgeProxy({
      ...{ view, host: 'iad1', region: 'iad', appsDomains: ['fairway.test'], backhaulPort: 1 },
      onAppLog: (line) => logs.push(line),
      destinationOf: () => ({ address, port: listenPort }),
      ...rest,
    })
    this.later(() => proxy.close())
    const { port } = await proxy.listen({ host: '127.0.0.1', port: 0 })
    const backhaul = await proxy.listenBackhaul({ host: '127.0.0.1', port: 0 })
    const labelled = (pairs: readonly (readonly [string, number])[], label: string) =>
      pairs.find(([name]) => name === label)?.[1] ?? 0
    return {
      ...{ port, backhaulPort: backhaul.port, proxy, logs, view },
      count: (name) =>
        name === 'retries'
          ? proxy.snapshot().totals.upstream_retries!
          : proxy.snapshot().gauges.connections_open!,
      limit: (name) => labelled(proxy.snapshot().limits, name),
      error: (code) => labelled(proxy.snapshot().errors, code),
    }
  }

  /** An edge in front of one machine of one app. */
  async simple(internalPort: number, service: Partial<TestService> = {}): Promise<TestEdge> {
    const services = [{ port: 80, internalPort, ...service }]
    return this.edge([{ name: 'hello', addresses: [ADDRESS], machines: [{ id: 'm1', services }] }])
  }

  /** An app that does what `serve` says with each of its connections. */
  async app(serve: (socket: net.Socket, n: number) => void): Promise<number> {
    const sockets = new Set<net.Socket>()
    let n = 0
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      serve(socket, n++)
    })
    this.later(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    return listen(server)
  }

  /** A server of node's own. */
  async server(server: net.Server): Promise<number> {
    this.later(() => {
      server.close()
      if ('closeAllConnections' in server) (server.closeAllConnections as () => void)()
    })
    return listen(server)
  }

  client(port: number): Client {
    const client = new Client(port)
    this.later(() => client.socket.destroy())
    return client
  }
}

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as net.AddressInfo).port
}

/** A client that says exactly what it is told, and keeps what it hears. */
export class Client {
  readonly socket: net.Socket
  text = ''
  ended = false
  closed = false
  error: string | undefined

  constructor(port: number) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.socket.on('data', (data: Buffer) => {
      this.text += data.toString('latin1')
    })
    this.socket.on('end', () => {
      this.ended = true
    })
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code
    })
    this.socket.on('close', () => {
      this.closed = true
    })
  }

  send(text: string | Buffer): this {
    if (typeof text === 'string') this.socket.write(text, 'latin1')
    else this.socket.write(text)
    return this
  }

  /** What was heard, once it matches. */
  async until(pattern: RegExp | string): Promise<string> {
    const matches = () =>
      typeof pattern === 'string' ? this.text.includes(pattern) : pattern.test(this.text)
    await eventually(matches, () => `no ${String(pattern)} in ${JSON.stringify(this.text)}`)
    return this.text
  }

  /** What was heard up to the end. */
  async end(): Promise<string> {
    await eventually(
      () => this.ended || this.closed,
      () => `no end after ${JSON.stringify(this.text.slice(0, 500))}`,
    )
    return this.text
  }
}

const EVENTUALLY_MS = 60_000

/** Waits for what other event loops and sockets will bring about; fails after a bounded time. */
export async function eventually(
  what: () => boolean,
  why: () => string = () => what.toString(),
): Promise<void> {
  const until = performance.now() + EVENTUALLY_MS
  while (!what()) {
    if (performance.now() > until) throw new Error(`still not so: ${why()}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** Waits until a number has stopped moving; its last value. */
export async function settled(value: () => number): Promise<number> {
  let last = Number.NaN
  while (last !== value()) {
    last = value()
    await new Promise((resolve) => setTimeout(resolve, 150))
  }
  return last
}

/** Reads requests (heads with Content-Length bodies) and hands each to `answer`. */
export function onRequests(socket: net.Socket, answer: (head: string, body: string) => void): void {
  let text = ''
  socket.on('data', (data: Buffer) => {
    text += data.toString('latin1')
    for (;;) {
      const end = text.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = text.slice(0, end + 2)
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
      if (text.length < end + 4 + length) return
      const body = text.slice(end + 4, end + 4 + length)
      text = text.slice(end + 4 + length)
      answer(head, body)
    }
  })
}

export const ok = (body: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
