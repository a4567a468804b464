import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6, type Server, type Socket } from 'node:net'
import { messageOf } from '../base/errors.ts'
import { unmapped } from '../base/ip.ts'
import type { Logger } from '../base/log.ts'
import { decode, encode, idOf } from './codec.ts'
import {
  CLASS_IN,
  type Message,
  RCODE,
  respond,
  TYPE,
  UDP_BYTES,
  UDP_BYTES_PLAIN,
} from './records.ts'

export interface DnsClient {
  readonly address: string
  readonly protocol: 'udp' | 'tcp'
}

/**
 * Answers one question of class IN; undefined leaves it without an answer. What it throws is logged,
 * and SERVFAIL to the client.
 */
export type DnsHandler = (
  query: Message,
  client: DnsClient,
) => Message | undefined | Promise<Message | undefined>

export interface DnsServerOptions {
  /** Specific ones: an answer must leave from the address that was asked. */
  readonly addresses: readonly string[]
  /** 0 lets the kernel choose; for tests. */
  readonly port: number
  readonly handler: DnsHandler
  readonly log: Logger
  /** Who may ask; everyone by default. Others are refused. */
  readonly allow?: (address: string) => boolean
  readonly limits?: Partial<DnsLimits>
}

export interface DnsLimits {
  /** Queries that are being answered at once, over all clients. */
  readonly activeMax: number
  readonly connectionsMax: number
  readonly connectionsPerClientMax: number
  /** Queries of one connection that are being answered at once; then it is not read. */
  readonly pipelineMax: number
  readonly idleMs: number
}

export const DNS_LIMITS: DnsLimits = {
  activeMax: 2_048,
  connectionsMax: 512,
  connectionsPerClientMax: 16,
  pipelineMax: 32,
  idleMs: 10_000,
}
/** A client that reads no answers is cut off when so many bytes of them wait. */
const UNSENT_BYTES_MAX = 256 * 1024
/** A query is a name and a few options. */
const QUERY_BYTES_MAX = 4_096

export interface DnsServer {
  readonly port: number
  close(): Promise<void>
}

/** Listens by UDP and TCP on every address; rejects when one of them cannot be had. */
export async function startDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  const server = new Listeners(options)
  try {
    for (const address of options.addresses) await server.listen(address)
    return server
  } catch (error) {
    await server.close()
    throw error
  }
}

class Listeners implements DnsServer {
  readonly #options: DnsServerOptions
  readonly #limits: DnsLimits
  readonly #udp: UdpSocket[] = []
  readonly #tcp: Server[] = []
  readonly #connections = new Map<Socket, string>()
  #active = 0
  port: number

  constructor(options: DnsServerOptions) {
    this.#options = options
    this.#limits = { ...DNS_LIMITS, ...options.limits }
    this.port = options.port
  }

  async listen(address: string): Promise<void> {
    const tcp = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
    this.#tcp.push(tcp)
    tcp.listen({ host: address, port: this.port, ipv6Only: isIPv6(address) })
    await once(tcp, 'listening')
    const bound = tcp.address()
    if (bound && typeof bound === 'object') this.port = bound.port
    const v6 = isIPv6(address)
    const udp = createSocket({ type: v6 ? 'udp6' : 'udp4', ipv6Only: v6 })
    this.#udp.push(udp)
    udp.on('message', (bytes, from) => void this.#datagram(udp, bytes, from.address, from.port))
    udp.bind(this.port, address)
    await once(udp, 'listening')
    for (const socket of [tcp, udp])
      socket.on('error', (error: Error) =>
        this.#options.log.warn({ address, reason: error.message }, 'dns socket'),
      )
  }

  async close(): Promise<void> {
    for (const socket of this.#connections.keys()) socket.destroy()
    await Promise.all([
      ...this.#tcp.map((s) => new Promise((done) => s.close(done))),
      ...this.#udp.map((s) => new Promise<void>((done) => s.close(() => done()))),
    ])
  }

  async #datagram(udp: UdpSocket, bytes: Buffer, address: string, port: number): Promise<void> {
    if (port === 0) return
    const client = { address: withoutZone(address), protocol: 'udp' } as const
    const reply = await this.#answer(bytes, client)
    // The socket may have been closed meanwhile.
    if (reply && this.#udp.includes(udp)) udp.send(reply, port, address, () => {})
  }

  #accept(socket: Socket): void {
    const address = withoutZone(unmapped(socket.remoteAddress ?? ''))
    socket.on('error', () => {})
    const { connectionsMax, connectionsPerClientMax, idleMs } = this.#limits
    const same = [...this.#connections.values()].filter((a) => a === address).length
    const full = this.#connections.size >= connectionsMax || same >= connectionsPerClientMax
    if (full || !this.#allowed(address)) {
      socket.destroy()
      return
    }
    this.#connections.set(socket, address)
    socket.on('close', () => this.#connections.delete(socket))
    socket.setTimeout(idleMs, () => socket.destroy())
    this.#readFrames(socket, address)
  }

  /** Messages behind their length (RFC 1035 section 4.2.2); answers leave as they come. */
  #readFrames(socket: Socket, address: string): void {
    let pending: Buffer = Buffer.alloc(0)
    let active = 0
    let ended = false
    const work = () => {
      while (active < this.#limits.pipelineMax && pending.length >= 2) {
        const length = pending.readUInt16BE(0)
        if (length > QUERY_BYTES_MAX) return void socket.destroy()
        if (pending.length < 2 + length) break
        const frame = pending.subarray(2, 2 + length)
        pending = pending.subarray(2 + length)
        active += 1
        void this.#answer(frame, { address, protocol: 'tcp' }).then((reply) => {
          active -= 1
          this.#writeFrame(socket, reply)
          work()
        })
      }
      if (active >= this.#limits.pipelineMax) socket.pause()
      else socket.resume()
      if (ended && active === 0) socket.end()
    }
    socket.on('data', (chunk: Buffer) => {
      pending = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
      work()
    })
    socket.on('end', () => {
      ended = true
      work()
    })
  }

  #writeFrame(socket: Socket, reply: Buffer | undefined): void {
    if (socket.destroyed) return
    if (!reply || socket.writableLength > UNSENT_BYTES_MAX) {
      socket.destroy()
      return
    }
    const length = Buffer.alloc(2)
    length.writeUInt16BE(reply.length)
    socket.write(Buffer.concat([length, reply]))
  }

  /** The bytes to send back; nothing for what must not be answered. Never throws. */
  async #answer(bytes: Buffer, client: DnsClient): Promise<Buffer | undefined> {
    let query: Message
    try {
      query = decode(bytes)
    } catch {
      return formatError(bytes)
    }
    // Two servers that answered each other's answers would never stop.
    if (query.response) return undefined
    const maxBytes = client.protocol === 'udp' ? udpBytesMax(query) : undefined
    const reply = await this.#decide(query, client)
    return reply && encode(reply, maxBytes)
  }

  async #decide(query: Message, client: DnsClient): Promise<Message | undefined> {
    const refusal = refuse(query)
    if (refusal !== undefined) return respond(query, { rcode: refusal })
    if (!this.#allowed(client.address) || this.#active >= this.#limits.activeMax)
      return respond(query, { rcode: RCODE.REFUSED })
    this.#active += 1
    try {
      return await this.#options.handler(query, client)
    } catch (error) {
      const { name } = query.questions[0]!
      this.#options.log.error({ name, reason: messageOf(error) }, 'dns query failed')
      return respond(query, { rcode: RCODE.SERVFAIL })
    } finally {
      this.#active -= 1
    }
  }

  #allowed(address: string): boolean {
    return this.#options.allow?.(address) ?? true
  }
}

/** The code for what no handler is asked. */
function refuse(query: Message): number | undefined {
  if (query.opcode !== 0) return RCODE.NOTIMP
  const [question] = query.questions
  if (
    !question ||
    query.questions.length > 1 ||
    query.answers.length + query.authorities.length > 0
  )
    return RCODE.FORMERR
  if (query.edns && query.edns.version > 0) return RCODE.BADVERS
  if (question.class !== CLASS_IN || question.type === TYPE.OPT) return RCODE.REFUSED
  if (question.type === TYPE.AXFR || question.type === TYPE.IXFR) return RCODE.REFUSED
  return undefined
}

const udpBytesMax = ({ edns }: Message): number =>
  edns ? Math.max(UDP_BYTES_PLAIN, Math.min(edns.udpBytes, UDP_BYTES)) : UDP_BYTES_PLAIN

/** A bare header; only for what claims to be a query. */
function formatError(bytes: Buffer): Buffer | undefined {
  const id = idOf(bytes)
  if (id === undefined || bytes.length < 12 || (bytes[2]! & 0x80) !== 0) return undefined
  const reply = Buffer.alloc(12)
  reply.writeUInt16BE(id, 0)
  reply[2] = 0x80 | (bytes[2]! & 0x79)
  reply[3] = RCODE.FORMERR
  return reply
}

const withoutZone = (address: string): string => address.replace(/%.*$/, '')
