import { hash } from 'node:crypto'
import net from 'node:net'
import type { OutboundProxy as Record } from '../model/resources.ts'
import type { Connect } from './context.ts'
import { PrefixSet } from './destination.ts'
import { Directory, type Source } from './directory.ts'
import { Meter, meterMemory } from './meter.ts'
import type { Lookup } from './names.ts'
import { OutboundProxy } from './outbound-proxy.ts'
import type { RequestLine } from './request-log.ts'

/** For the tests of this folder: a proxy on loopback with one user, and servers to talk to. */

export const SECRET = 'correct-horse'
export const BASIC = `Basic ${Buffer.from(`u1:${SECRET}`).toString('base64')}`

export function record(change: Partial<Record> = {}): Record {
  const at = '2026-01-01T00:00:00.000Z'
  return {
    ...{ id: 'p1', index: 0, name: 'test', org: 'acme', pairs: ['a', 'b'], secret: null },
    credentials: [{ name: 'u1', hash: hash('sha256', SECRET), createdAt: at, expiresAt: null }],
    limits: { connections: null, newPerSecond: null, bytesPerSecond: null },
    allow: ['*', '127.0.0.0/8', '::1'],
    ...{ createdAt: at, updatedAt: at },
    ...change,
  }
}

export interface Rig extends AsyncDisposable {
  readonly proxy: OutboundProxy
  readonly directory: Directory
  readonly lines: RequestLine[]
  readonly http: number
  readonly socks: number
  /** 0 without a certificate. */
  readonly https: number
  put(change: Partial<Record>, sources?: readonly Source[] | null): void
}

export interface RigOptions {
  readonly change?: Partial<Record>
  readonly sources?: readonly Source[] | null
  readonly names?: { readonly [host: string]: readonly string[] | 'fails' }
  readonly connect?: Connect
  readonly now?: () => number
  readonly tls?: { readonly cert: string; readonly key: string }
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const lines: RequestLine[] = []
  const directory = new Directory(new PrefixSet(['203.0.113.2/32']))
  const now = options.now ?? Date.now
  const meter = new Meter(meterMemory(1), 1, 0, now)
  const put: Rig['put'] = (change, sources = null) =>
    directory.put({ proxy: record(change), sources, slots: { u1: 1, u2: 2 } })
  put(options.change ?? {}, options.sources)
  const proxy = new OutboundProxy({
    ...{ directory, meter, now, lookup: lookupIn(options.names ?? {}) },
    ...(options.connect ? { connect: options.connect } : {}),
    ...(options.tls ? { tls: options.tls } : {}),
    onLine: (line) => lines.push(line),
  })
  const http = await proxy.listen({ host: '127.0.0.1', port: 0 }, 'http')
  const socks = await proxy.listen({ host: '127.0.0.1', port: 0 }, 'socks5')
  const https = options.tls ? await proxy.listen({ host: '127.0.0.1', port: 0 }, 'https') : 0
  return {
    ...{ proxy, directory, lines, http, socks, https, put },
    [Symbol.asyncDispose]: () => proxy.drain(0),
  }
}

export function lookupIn(names: NonNullable<RigOptions['names']>): Lookup {
  return (host, family, callback) => {
    const known = names[host]
    setImmediate(() => {
      if (known === 'fails') callback(Object.assign(new Error(), { code: 'ETIMEOUT' }), [])
      else if (!known) callback(Object.assign(new Error(), { code: 'ENOTFOUND' }), [])
      else {
        const found = known.filter((address) => net.isIP(address) === family)
        callback(
          null,
          found.map((address) => ({ address, ttl: 60 })),
        )
      }
    })
  }
}

export interface Served extends AsyncDisposable {
  readonly port: number
  readonly sockets: Set<net.Socket>
}

export async function serve(
  onSocket: (socket: net.Socket) => void,
  host = '127.0.0.1',
): Promise<Served> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export const echo = (socket: net.Socket): void => void socket.pipe(socket)

/** A client that waits for what it expects, with a time-out that fails the test. */
export class Client {
  readonly socket: net.Socket
  #text = ''
  #ended = false
  #wake: () => void = () => {}

  constructor(at: number | net.Socket) {
    this.socket =
      typeof at === 'number'
        ? net.connect({ port: at, host: '127.0.0.1', allowHalfOpen: true })
        : at
    this.socket.on('error', () => {})
    this.socket.on('data', (data) => {
      this.#text += data.toString('latin1')
      this.#wake()
    })
    const ended = () => {
      this.#ended = true
      this.#wake()
    }
    this.socket.on('end', ended).on('close', ended)
  }

  /** Octets that came and were not read yet. */
  get waiting(): number {
    return this.#text.length
  }

  send(text: string | Uint8Array): this {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text)
    return this
  }

  /** Takes what came up to and with `until`, or so many octets. */
  async read(until: string | number): Promise<string> {
    const end = () => {
      if (typeof until === 'number') return this.#text.length >= until ? until : -1
      const at = this.#text.indexOf(until)
      return at < 0 ? -1 : at + until.length
    }
    await this.#wait(() => end() >= 0 || this.#ended, `"${until}"`)
    const at = end()
    if (at < 0) throw new Error(`the connection ended before "${until}": ${this.#text}`)
    const text = this.#text.slice(0, at)
    this.#text = this.#text.slice(at)
    return text
  }

  /** Everything until the other side ends. */
  async rest(): Promise<string> {
    await this.#wait(() => this.#ended, 'the end')
    const text = this.#text
    this.#text = ''
    return text
  }

  /** A response with Content-Length, or without a body. */
  async response(): Promise<{ status: number; head: string; body: string }> {
    const head = await this.read('\r\n\r\n')
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
    return { status: Number(head.slice(9, 12)), head, body: await this.read(length) }
  }

  async #wait(done: () => boolean, what: string): Promise<void> {
    const until = Date.now() + WAIT_MS
    while (!done()) {
      if (Date.now() > until) throw new Error(`waited ${WAIT_MS} ms for ${what}: ${this.#text}`)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      const timer = setTimeout(resolve, 100)
      await promise
      clearTimeout(timer)
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
const WAIT_MS = 20_000

export const connectTo = (to: string, more = `Proxy-Authorization: ${BASIC}\r\n`): string =>
  `CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n${more}\r\n`
