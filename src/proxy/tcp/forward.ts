import net from 'node:net'
import type { Timed } from '../../base/deadlines.ts'
import { breakOff } from '../../base/ends.ts'
import { latin1 } from '../../base/latin1.ts'
import { own, type ReadSink, SocketReader, writeRead } from '../../base/socket-reader.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import {
  ACCEPT_LINE,
  codeOfRefusal,
  prefaceOrigin,
  prefaceTarget,
  refusalCode,
  refusalLine,
} from '../backhaul/preface.ts'
import { isRefusal, type Lease, type Probe, type RefusalReason } from '../balance/balancer.ts'
import { drawRelease } from '../balance/release-split.ts'
import { Steering } from '../balance/steering.ts'
import type { Turn, Waiter } from '../balance/wait-queues.ts'
import type { OpenConnection, ProxyContext } from '../context.ts'
import { textOf } from '../errors/codes.ts'
import type { PublicOrigin } from '../http1/public-connection.ts'
import * as limits from '../limits.ts'
import type { EdgeSeries, InstanceSeries } from '../observe/series.ts'
import { Attempts } from '../upstream/attempts.ts'
import type { UpstreamFailure } from '../upstream/exchange.ts'
import { mayRetry, type RetryBudget } from '../upstream/retry-budgets.ts'
import { proxyHeader } from './proxy-header.ts'

/** A connection whose octets are to be passed on. */
export interface TcpClient {
  readonly socket: net.Socket
  readonly reader: SocketReader
  /** What has been read of them already. */
  readonly first: Buffer
}

/** Passes the octets of a connection through to a machine (U7), with a PROXY header if asked for. */
export function forwardTcp(
  ctx: ProxyContext,
  client: TcpClient,
  origin: PublicOrigin,
  route: PortRoute,
  requestId: string,
): void {
  new TcpForward(ctx, client, origin, route, requestId, null, '').start()
}

/** The same for a stream from another edge, which has chosen the machine and waits for a word. */
export function acceptTcp(
  ctx: ProxyContext,
  client: TcpClient,
  origin: PublicOrigin,
  route: PortRoute,
  requestId: string,
  machine: string,
  acceptLine: string,
): void {
  new TcpForward(ctx, client, origin, route, requestId, machine, acceptLine).start()
}

class TcpForward implements Timed, OpenConnection, ReadSink, Waiter {
  deadline: number
  ticket = 0
  waitsUntil = 0
  readonly #ctx: ProxyContext
  readonly #client: net.Socket
  readonly #reader: SocketReader
  /** Of the client, until somebody takes it; while there is some, nothing more is read. */
  #held: Buffer
  #clientEnded = false
  readonly #origin: PublicOrigin
  readonly #route: PortRoute
  readonly #requestId: string
  readonly #machine: string | null
  readonly #acceptLine: string
  /** Of the release that it was drawn for; null when that does not matter. */
  readonly #steering: Steering | null
  #upstream: net.Socket | null = null
  #lease: Lease | null = null
  readonly #attempts = new Attempts()
  /** Null when another edge has chosen, and counts. */
  readonly #budget: RetryBudget | null
  #waiting = false
  /** The connection to another edge is open, and its word is awaited. */
  #asked = false
  #open = false
  #isHalfClosed = false
  #closed = false
  #dialledAt = 0
  /** Of the app, where its client was accepted; of the machine, on its own host. */
  #edge: EdgeSeries | null = null
  #instance: InstanceSeries | null = null

  constructor(
    ctx: ProxyContext,
    client: TcpClient,
    origin: PublicOrigin,
    route: PortRoute,
    requestId: string,
    machine: string | null,
    acceptLine: string,
  ) {
    this.#ctx = ctx
    this.#client = client.socket
    this.#reader = client.reader
    this.#held = client.first
    this.#origin = origin
    this.#route = route
    this.#requestId = requestId
    this.#machine = machine
    this.#acceptLine = acceptLine
    this.deadline = Infinity
    this.#steering = machine === null ? steeringTo(ctx, route) : null
    this.#budget = machine === null ? ctx.retries.of(route.app, ctx.deadlines.now) : null
  }

  start(): void {
    const { ctx, client } = { ctx: this.#ctx, client: this.#client }
    this.#reader.sink = this
    if (this.#held.length > 0) client.pause()
    client.on('error', () => {})
    client.on('end', () => this.#onClientEnd())
    client.on('close', () => this.#close())
    client.setKeepAlive(true, limits.KEEPALIVE_PROBE_MS)
    ctx.connections.add(this)
    ctx.deadlines.add(this)
    ctx.counters.connectionsOpen++
    ctx.counters.tunnelsOpen++
    this.#attempts.begin(ctx.deadlines.now)
    const { app, port } = this.#route
    this.#budget?.requested()
    if (this.#machine === null) {
      this.#edge = ctx.apps.edge(app)
      this.#edge.connected()
    }
    if (this.#machine === null && ctx.waiting.has(app, port)) this.#onRefused('hard-limit')
    else this.#attempt(null)
  }

  /** What the client says first waits for a machine; a client that goes away meanwhile is noticed. */
  onRead(data: Buffer, n: number): void {
    this.#held = Buffer.concat([this.#held, own(data, 0, n)])
    this.#client.pause()
  }

  #onClientEnd(): void {
    this.#clientEnded = true
    if (this.#open) this.#endUpstream()
  }

  #endUpstream(): void {
    this.#upstream?.end()
    this.#onHalfClosed()
  }

  #onHalfClosed(): void {
    this.#isHalfClosed = true
    this.#touch()
  }

  /** A stream may be silent for long; probes find a dead peer. */
  #touch(): void {
    if (this.#isHalfClosed) this.deadline = this.#ctx.deadlines.now + limits.TUNNEL_HALF_CLOSED_MS
  }

  /** A stream has no place to stop at: it goes on until the process ends. */
  drain(): void {}

  destroy(): void {
    this.#client.destroy()
  }

  onDeadline(): void {
    if (this.#open) {
      this.#ctx.counters.limit('tunnel_half_closed_ms')
      breakOff(this.#client)
      if (this.#upstream) breakOff(this.#upstream)
      return
    }
    if (!this.#lease) {
      // It was refused, and whoever has chosen the machine does not go.
      this.#ctx.counters.limit('linger')
      this.#client.destroy()
      return
    }
    this.#ctx.counters.limit('connect_ms')
    this.#onFailed(this.#lease?.via ? 'PU03' : 'PC05')
  }

  onTurn(probe: Probe | null): Turn {
    this.#waiting = false
    this.#attempt(probe)
    return this.#waiting ? 'waits' : this.#lease?.via || this.#lease?.isDoubtful ? 'sent' : 'served'
  }

  onWaitedTooLong(): void {
    this.#waiting = false
    this.#attempt(null)
  }

  #attempt(probe: Probe | null, isRetry = false): void {
    const { excluded: exclude } = this.#attempts
    const wanted = { exclude, machine: this.#machine, probe, steering: this.#steering }
    const { app, port } = this.#route
    // Time may have passed, and the view know more of the machines.
    const route = this.#ctx.view.app(app)?.port('tcp', port)
    const claimed = route ? this.#ctx.balancer.claim(route, wanted) : ({ refused: 'none' } as const)
    if (isRefusal(claimed)) this.#onRefused(claimed.refused)
    else if (!isRetry || this.#isWithinBudget()) this.#dial(claimed)
    else {
      claimed.release()
      this.#giveUp(null)
    }
  }

  #isWithinBudget(): boolean {
    if (this.#budget === null || !this.#attempts.isRetry) return true
    return mayRetry(this.#ctx, this.#budget, this.#route.app)
  }

  #onRefused(reason: RefusalReason): void {
    if (this.#machine !== null) this.#refuse(this.#attempts.last?.code ?? codeOfRefusal(reason))
    else if (!this.#wait(reason)) this.#giveUp(reason)
  }

  /** Joins the queue (L6); false when it has waited long enough, or too many do. */
  #wait(reason: RefusalReason): boolean {
    const { deadlines, waiting, counters } = this.#ctx
    this.deadline = Infinity
    this.waitsUntil = this.#attempts.waitsUntil(reason)
    if (this.waitsUntil <= deadlines.now) return false
    this.#waiting = waiting.join(this.#route.app, this.#route.port, this)
    if (this.#waiting) this.#attempts.waits(reason)
    else counters.limit('queue_per_app_max')
    return this.#waiting
  }

  #dial(claimed: Lease): void {
    this.#lease = claimed
    this.#asked = false
    this.deadline = this.#ctx.deadlines.now + limits.CONNECT_MS
    this.#ctx.counters.upstreamConnects++
    this.#dialledAt = this.#ctx.clock()
    const reader = new SocketReader(this.#ctx.scratch)
    const upstream = this.#connect(claimed, reader)
    reader.socket = upstream
    this.#upstream = upstream
    upstream.on('error', (error: NodeJS.ErrnoException) => {
      if (upstream === this.#upstream && !this.#open) this.#onFailed(codeOf(error, claimed))
    })
    upstream.on('close', () => {
      reader.close()
      if (upstream !== this.#upstream) return
      if (this.#open) this.#client.destroySoon()
      else this.#onFailed(claimed.via ? 'PU03' : 'PC03')
    })
  }

  #connect({ candidate, via }: Lease, reader: SocketReader): net.Socket {
    const { endpoint, service } = candidate
    const { onread } = reader
    const options = { noDelay: true, allowHalfOpen: true, keepAlive: true, onread }
    const { proxyProtoVersion, handlers, app, port } = this.#route
    if (via === null) {
      const host = endpoint.v4
      const upstream = net.connect({
        ...options,
        host,
        port: endpoint.services[service]!.internalPort,
      })
      upstream.once('connect', () => {
        if (handlers.includes('proxy_proto'))
          upstream.write(proxyHeader(this.#origin, proxyProtoVersion), 'latin1')
        this.#onOpen(upstream, reader)
      })
      return upstream
    }
    const upstream = net.connect({
      ...options,
      host: via.meshAddress,
      port: this.#ctx.backhaulPort,
    })
    const target = prefaceTarget('tcp', app, endpoint.machine, service, port)
    const origin = prefaceOrigin({ ...this.#origin, region: this.#ctx.region })
    this.#ctx.counters.backhaulRequests++
    upstream.once('connect', () => {
      this.#asked = true
      // The other edge has the same time for its own connection, and tells what became of it.
      const { now } = this.#ctx.deadlines
      this.deadline = now + limits.CONNECT_MS + limits.BACKHAUL_SLACK_MS
    })
    upstream.write(`${target}${origin}${this.#requestId}\r\n`, 'latin1')
    this.#awaitAccept(upstream, reader)
    return upstream
  }

  #awaitAccept(upstream: net.Socket, reader: SocketReader): void {
    let text = ''
    const onRead = (data: Buffer, n: number) => {
      text += latin1(data, 0, Math.min(n, REFUSAL_BYTES))
      if (text.startsWith(ACCEPT_LINE)) {
        // Only the line itself came in earlier reads, so the rest of this one is the stream's.
        this.#onOpen(upstream, reader, own(data, data.subarray(0, n).indexOf(10) + 1, n))
        return
      }
      const code = refusalCode(text)
      if (code !== '') this.#onFailed(code ?? 'PU03', 'refused')
    }
    reader.sink = { onRead }
  }

  #onOpen(upstream: net.Socket, reader: SocketReader, first?: Buffer): void {
    this.#open = true
    this.#lease?.succeeded()
    this.deadline = Infinity
    const client = this.#client
    if (this.#acceptLine !== '') client.write(this.#acceptLine, 'latin1')
    if (first && first.length > 0) client.write(first)
    const { counters, apps, clock } = this.#ctx
    const { candidate, via } = this.#lease!
    if (via === null) {
      this.#instance = apps.instance(candidate.endpoint.app, candidate.endpoint.machine)
      this.#instance.connected(clock() - this.#dialledAt)
    }
    const edge = this.#edge
    const up = (n: number) => {
      this.#touch()
      counters.bytesFromClients += n
      edge?.moved(n, 0)
    }
    const held = this.#held
    this.#held = NOTHING
    up(held.length)
    if (held.length > 0) upstream.write(held)
    pump(client, this.#reader, upstream, up)
    pump(upstream, reader, client, (n) => {
      this.#touch()
      counters.bytesToClients += n
      edge?.moved(0, n)
    })
    upstream.on('end', () => {
      client.end()
      this.#onHalfClosed()
    })
    if (this.#clientEnded) this.#endUpstream()
  }

  /**
   * Nothing of the client's has been sent: whatever failed, it can be tried again. Another edge that
   * was asked may have connected to the app, though.
   */
  #onFailed(code: string, stage: UpstreamFailure['stage'] = this.#asked ? 'sent' : 'unsent'): void {
    const lease = this.#lease
    const upstream = this.#upstream
    const { counters, deadlines } = this.#ctx
    this.#upstream = null
    this.#lease = null
    upstream?.destroy()
    counters.error(code)
    if (!lease) return
    const failure = { code, reason: '', stage, reused: false }
    this.#attempts.failed(failure, lease, true)
    if (stage !== 'refused') this.#log(code, this.#attempts.machine, textOf(code, ''))
    lease.release()
    if (this.#closed) return
    if (this.#attempts.mayRetry(failure, true, deadlines.now, counters)) {
      counters.retries++
      this.#attempt(null, true)
    } else if (this.#machine !== null) this.#refuse(code)
    else this.#giveUp(null)
  }

  /** To the edge that has chosen the machine. */
  #refuse(code: string): void {
    this.deadline = this.#ctx.deadlines.now + limits.LINGER_MS
    this.#client.end(refusalLine(code), 'latin1')
    this.#client.resume()
  }

  #giveUp(reason: RefusalReason | null): void {
    const { code, message } = this.#attempts.finalAnswer(reason, false)
    // L14: what HTTP calls PR04 is PR01 without it.
    const shown = code === 'PR04' ? 'PR01' : code
    this.#ctx.counters.error(shown)
    this.#log(shown, '', `a connection was reset: ${message}`)
    breakOff(this.#client)
  }

  #log(code: string, machine: string, message: string): void {
    this.#ctx.appLog.write({ app: this.#route.app, machine, level: 'error', code, message })
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#reader.close()
    this.#held = NOTHING
    this.#ctx.connections.delete(this)
    this.#ctx.deadlines.delete(this)
    this.#ctx.counters.connectionsOpen--
    this.#ctx.counters.tunnelsOpen--
    this.#edge?.disconnected()
    this.#instance?.disconnected()
    if (this.#waiting) this.#ctx.waiting.leave(this.#route.app, this.#route.port, this)
    this.#upstream?.destroy()
    this.#upstream = null
    this.#lease?.release()
    this.#lease = null
  }
}

function steeringTo(ctx: ProxyContext, { split }: PortRoute): Steering | null {
  if (split === null) return null
  const steering = new Steering({})
  steering.release = drawRelease(split, ctx.random())
  return steering
}

const NOTHING = Buffer.alloc(0)
/** More than a line that accepts or refuses. */
const REFUSAL_BYTES = 32

/** Octets from one socket to the other, at the other's pace. */
function pump(
  from: net.Socket,
  reader: SocketReader,
  to: net.Socket,
  count: (n: number) => void,
): void {
  reader.sink = {
    onRead: (data, n, stream) => {
      count(n)
      if (!writeRead(to, data.subarray(0, n), stream)) from.pause()
    },
  }
  to.on('drain', () => from.resume())
  from.resume()
}

function codeOf(error: NodeJS.ErrnoException, lease: Lease): string {
  if (lease.via) return 'PU03'
  if (error.code === 'ECONNREFUSED') return 'PC01'
  return error.code === 'ETIMEDOUT' ? 'PC05' : 'PC06'
}
