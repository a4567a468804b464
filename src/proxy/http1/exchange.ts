import type { ResponseHead, ResponseMode } from '../../base/http1/response-head.ts'
import type { StreamBuffer } from '../../base/stream-buffers.ts'
import type { Candidate, PortRoute } from '../../view/edge-view.ts'
import { codeOfRefusal, DRAINING } from '../backhaul/preface.ts'
import {
  isRefusal,
  type Lease,
  type Probe,
  type Refusal,
  type RefusalReason,
} from '../balance/balancer.ts'
import type { Steering } from '../balance/steering.ts'
import type { Turn, Waiter } from '../balance/wait-queues.ts'
import type { ProxyContext } from '../context.ts'
import { NO_ANSWER, textOf } from '../errors/codes.ts'
import type { RequestRecord } from '../observe/record.ts'
import type { InstanceSeries } from '../observe/series.ts'
import { Attempts } from '../upstream/attempts.ts'
import type { UpstreamConnection } from '../upstream/connection.ts'
import type { UpstreamFailure, UpstreamUser } from '../upstream/exchange.ts'
import { mayRetry, type RetryBudget } from '../upstream/retry-budgets.ts'
import { RetainedBody } from './retained-body.ts'

/** The client's side of a request: what an exchange tells it. */
export interface ExchangeClient {
  /** The request's text for this lease: what comes before the head, the head, and its end. */
  requestText(lease: Lease, head: string, headEnd: string): string
  /** The upstream has taken the request. */
  onAccepted(): void
  sendInterim(head: ResponseHead): void
  sendResponse(head: ResponseHead, text: string, from: number, to: number, done: boolean): void
  sendBody(from: number, to: number, done: boolean): void
  /** No response has begun: one of the edge's own has to end the request. */
  sendFailure(status: 502 | 503 | 504, code: string, message: string): void
  /** The response cannot be completed. */
  cut(): void
  pauseReading(): void
  resumeReading(): void
  switchProtocols(head: ResponseHead, from: number, to: number): void
  sendTunnel(from: number, to: number): void
  endTunnel(): void
}

/** What of a request decides how it is sent. */
export interface ExchangeRequest {
  readonly route: PortRoute
  /** A machine of this host that another edge has chosen; null: choose. */
  readonly machine: string | null
  readonly steering: Steering | null
  /** Request line and field lines, each with CRLF, without the empty line. */
  readonly head: string
  readonly method: string
  readonly idempotent: boolean
  readonly wantsUpgrade: boolean
  readonly responseMode: ResponseMode
  /** Nobody else may use the upstream connection. */
  readonly alone: boolean
  /** Where its way is written down; mostly nowhere. */
  readonly record: RequestRecord | null
}

/**
 * The way of one request to an upstream: claim, wait for a slot, send, and try again while nothing has
 * been lost. Each client connection has one and uses it for all its requests, one after the other.
 */
export class Exchange implements UpstreamUser, Waiter {
  responseMode: ResponseMode = 'public'
  toHead = false
  wantsUpgrade = false
  requestDone = true
  hasBody = false
  /** A response head has gone to the client. */
  responded = false
  ticket = 0
  waitsUntil = 0
  /** In the time of `ctx.clock`: when the request began, and its response. */
  beganAt = 0
  headAt = 0

  readonly #ctx: ProxyContext
  readonly #client: ExchangeClient
  readonly #body: RetainedBody
  #request: ExchangeRequest | null = null
  #lease: Lease | null = null
  #upstream: UpstreamConnection | null = null
  #accepted = false
  readonly #attempts = new Attempts()
  /** Of the app that it was for last; most connections have no other. */
  #budget: RetryBudget | null = null
  #budgetApp = ''
  #fresh = false
  #sentAt = 0
  /** What is counted of the machine that was asked last on this connection. */
  #instance: InstanceSeries | null = null
  #instanceOf: Candidate | null = null
  #waiting = false
  /** Where it waits among those for the same port. */
  #lane = ''
  /** Too many wait already. */
  #crowded = false

  constructor(ctx: ProxyContext, client: ExchangeClient) {
    this.#ctx = ctx
    this.#client = client
    this.#body = new RetainedBody(ctx.counters)
  }

  get active(): boolean {
    return this.#request !== null
  }

  /** It waits for a machine that can take it. */
  get waiting(): boolean {
    return this.#waiting
  }

  /** `body`: what came with the head; `done`: it is the whole of it. */
  begin(request: ExchangeRequest, body: Buffer | string, done: boolean): void {
    this.#request = request
    this.responseMode = request.responseMode
    this.toHead = request.method === 'HEAD'
    this.wantsUpgrade = request.wantsUpgrade
    this.requestDone = done
    this.hasBody = !done || body.length > 0
    this.responded = false
    this.#body.begin(body)
    this.ticket = 0
    this.#attempts.begin(this.#ctx.deadlines.now)
    this.#fresh = false
    this.#crowded = false
    this.beganAt = this.#ctx.clock()
    this.#sentAt = this.beganAt
    const { route, machine, steering } = request
    this.#lane = steering === null ? '' : steering.lane
    if (machine === null) this.#countRequest(route.app)
    // Who comes now must not overtake those who wait already.
    if (machine === null && this.#ctx.waiting.has(route.app, route.port, this.#lane))
      this.#onRefused('hard-limit')
    else this.#attempt()
  }

  /** More of the body, lent. */
  sendBody(read: Buffer, stream: StreamBuffer | null, done: boolean): void {
    this.requestDone = done
    const kept = this.#body.keeping ? Buffer.from(read) : null
    this.#body.add(kept ?? read)
    if (this.#body.over) {
      if (this.#accepted) this.#body.drop()
      else this.#client.pauseReading()
    }
    if (read.length === 0 || this.#upstream === null) return
    const full = kept ? this.#upstream.write(kept) : this.#upstream.pass(read, stream)
    if (full && this.#accepted) this.#client.pauseReading()
  }

  /** The client is gone, or nothing more is wanted from the upstream. */
  abort(): void {
    const upstream = this.#upstream
    this.#finish()
    upstream?.abort()
  }

  /** No octet came for too long. */
  timeout(): void {
    const machine = this.#lease?.candidate.endpoint.machine ?? ''
    const app = this.#request?.route.app ?? ''
    if (this.#waiting) {
      this.#giveUp('hard-limit')
      return
    }
    if (this.requestDone && !this.responded) this.#lease?.failed('broke')
    this.abort()
    this.#ctx.counters.limit('request_idle_ms')
    if (this.responded) {
      this.#client.cut()
      return
    }
    this.#ctx.counters.error('PU02')
    this.#log('PU02', NO_ANSWER, app, machine)
    this.#client.sendFailure(504, 'PU02', NO_ANSWER)
  }

  pauseUpstream(): void {
    this.#upstream?.pause()
  }

  resumeUpstream(): void {
    this.#upstream?.resume()
  }

  /** Lent octets. */
  writeTunnel(read: Buffer, stream: StreamBuffer | null): void {
    if (this.#upstream?.pass(read, stream)) this.#client.pauseReading()
  }

  endTunnel(): void {
    this.#upstream?.end()
  }

  // What the upstream tells.

  onAccepted(): void {
    this.#accepted = true
    this.#request!.record?.accepted(this.#ctx.clock())
    this.#body.taken(this.#request!.idempotent)
    this.#client.onAccepted()
    if (!this.requestDone) this.#client.resumeReading()
  }

  onInterim(head: ResponseHead): void {
    this.#body.drop()
    this.#body.whole = false
    this.#client.sendInterim(head)
  }

  onResponse(head: ResponseHead, text: string, from: number, to: number, done: boolean): void {
    this.responded = true
    this.#answered(head.status)
    if (done) this.#finish()
    else this.#body.drop()
    this.#client.sendResponse(head, text, from, to, done)
  }

  onBody(from: number, to: number, done: boolean): void {
    if (done) this.#finish()
    this.#client.sendBody(from, to, done)
  }

  onFailed(failure: UpstreamFailure): void {
    const lease = this.#lease!
    const { app } = this.#request!.route
    this.#upstream = null
    this.#accepted = false
    this.#lease = null
    this.#ctx.counters.error(failure.code)
    this.#sentAt = 0
    this.#request!.record?.failed(failure, this.#ctx.clock())
    // An app that closes idle connections, or an edge that is being replaced, is no reason to try
    // another machine.
    this.#fresh = failure.reused || failure.code === DRAINING
    this.#attempts.failed(failure, lease, !this.#fresh)
    // What another edge saw is in the app's log already.
    if (!this.#fresh && failure.stage !== 'refused')
      this.#log(failure.code, textOf(failure.code, failure.reason), app, this.#attempts.machine)
    lease.release()
    if (this.#mayRetry(failure)) {
      this.#ctx.counters.retries++
      this.#attempt()
    } else this.#giveUp(null)
  }

  onCut(reason: string): void {
    const lease = this.#lease
    const app = this.#request?.route.app ?? ''
    lease?.failed('broke')
    this.#finish()
    this.#ctx.counters.error('PU02')
    const machine = lease?.candidate.endpoint.machine ?? ''
    this.#log('PU02', `the response broke off: ${reason}`, app, machine)
    this.#client.cut()
  }

  onUpstreamDrain(): void {
    if (this.#accepted) this.#client.resumeReading()
  }

  onSwitched(head: ResponseHead, from: number, to: number): void {
    this.responded = true
    this.#answered(head.status)
    this.#body.drop()
    this.#client.switchProtocols(head, from, to)
  }

  onTunnelData(from: number, to: number): void {
    this.#client.sendTunnel(from, to)
  }

  onTunnelEnd(): void {
    this.#client.endTunnel()
  }

  // What the queue tells.

  onTurn(probe: Probe | null): Turn {
    this.#waiting = false
    const claimed = this.#claimAgain(probe)
    if (isRefusal(claimed)) {
      this.#onRefused(claimed.refused)
      return this.#waiting ? 'waits' : 'served'
    }
    // Whoever could not be reached a moment ago is asked with care.
    const unsure = claimed.via !== null || claimed.isDoubtful
    this.#send(claimed)
    return unsure ? 'sent' : 'served'
  }

  onWaitedTooLong(): void {
    this.#waiting = false
    const claimed = this.#claimAgain(null)
    // It may wait longer for another reason than the one that it began to wait for.
    if (isRefusal(claimed)) this.#onRefused(claimed.refused)
    else this.#send(claimed)
  }

  // Private

  #attempt(): void {
    const { route } = this.#request!
    const claimed = this.#attempts.isFirst ? this.#claim(route, null) : this.#claimAgain(null)
    if (isRefusal(claimed)) this.#onRefused(claimed.refused)
    else if (this.#isWithinBudget()) this.#send(claimed)
    else {
      claimed.release()
      this.#giveUp(null)
    }
  }

  #countRequest(app: string): void {
    if (app !== this.#budgetApp) {
      this.#budget = this.#ctx.retries.of(app, this.#ctx.deadlines.now)
      this.#budgetApp = app
    }
    this.#budget!.requested()
  }

  /** Those that wait in line are not counted: the line has a pace of its own. */
  #isWithinBudget(): boolean {
    const { machine, route } = this.#request!
    if (machine !== null || !this.#attempts.isRetry) return true
    return mayRetry(this.#ctx, this.#budget!, route.app)
  }

  #claim(route: PortRoute, probe: Probe | null): Lease | Refusal {
    const { machine, steering } = this.#request!
    const { excluded: exclude } = this.#attempts
    return this.#ctx.balancer.claim(route, { exclude, machine, probe, steering })
  }

  /** Time has passed, and the view may know more of the machines. */
  #claimAgain(probe: Probe | null): Lease | Refusal {
    const { app, port } = this.#request!.route
    const route = this.#ctx.view.app(app)?.port('tcp', port)
    return route ? this.#claim(route, probe) : { refused: 'none' }
  }

  #send(lease: Lease): void {
    const request = this.#request!
    this.#lease = lease
    // A clock is read again only where time has passed since the request came.
    if (this.#sentAt === 0) this.#sentAt = this.#ctx.clock()
    request.record?.sent(lease, this.#sentAt)
    const upstream = this.#ctx.upstreams.take(lease, this.#fresh, request.alone)
    this.#upstream = upstream
    this.#accepted = false
    const headEnd = request.wantsUpgrade ? '\r\n' : upstream.target.headEnd
    let text = this.#client.requestText(lease, request.head, headEnd)
    const { parts } = this.#body
    const inline = parts !== null && typeof parts[0] === 'string'
    if (inline) text += parts[0]
    upstream.start(this, text)
    if (parts) for (let i = inline ? 1 : 0; i < parts.length; i++) upstream.write(parts[i]!)
    if (upstream.accepted) this.onAccepted()
  }

  #mayRetry(failure: UpstreamFailure): boolean {
    const { deadlines, counters } = this.#ctx
    const harmless = this.#request!.idempotent && this.#body.whole
    return this.#attempts.mayRetry(failure, harmless, deadlines.now, counters)
  }

  #onRefused(reason: RefusalReason): void {
    // On the host itself there is nothing to wait for: the edge that asked may know another machine.
    if (this.#request!.machine === null && this.#wait(reason)) return
    this.#giveUp(reason)
  }

  /** Joins the queue (L6); false when it has waited long enough, or too many do. */
  #wait(reason: RefusalReason): boolean {
    const { deadlines, waiting, counters } = this.#ctx
    const { app, port } = this.#request!.route
    this.waitsUntil = this.#attempts.waitsUntil(reason)
    if (this.waitsUntil <= deadlines.now) return false
    if (!waiting.join(app, port, this, this.#lane)) {
      counters.limit('queue_per_app_max')
      this.#crowded = true
      return false
    }
    this.#waiting = true
    this.#sentAt = 0
    this.#request!.record?.waiting(reason, this.#ctx.clock())
    this.#attempts.waits(reason)
    return true
  }

  /** Nobody can take it, and it does not wait; null: the last failure was the end of it. */
  #giveUp(reason: RefusalReason | null): void {
    const { route, machine } = this.#request!
    this.#finish()
    if (machine !== null && reason !== null && this.#attempts.isFirst) {
      this.#client.sendFailure(503, codeOfRefusal(reason), '')
      return
    }
    const { status, code, message, log } = this.#attempts.finalAnswer(reason, this.#crowded)
    if (code.startsWith('PR')) this.#ctx.counters.error(code)
    if (log)
      this.#log(code, message, route.app, code.startsWith('PR') ? '' : this.#attempts.machine)
    const only = this.#lane === '' ? '' : `; the request asks for ${this.#lane} only`
    this.#client.sendFailure(status, code, message + only)
  }

  #log(code: string, message: string, app: string, machine: string): void {
    this.#ctx.appLog.write({ app, machine, level: 'error', code, message })
  }

  /** The response's head is there. */
  #answered(status: number): void {
    const { candidate, via } = this.#lease!
    if (status >= 500) this.#lease!.failed('broke')
    else this.#lease!.succeeded()
    const now = this.#ctx.clock()
    this.headAt = now
    this.#request!.record?.answered(status, now)
    // A machine elsewhere is counted by the edge of its own host.
    if (via !== null) return
    if (candidate !== this.#instanceOf) {
      const { app, machine } = candidate.endpoint
      this.#instanceOf = candidate
      this.#instance = this.#ctx.apps.instance(app, machine)
    }
    this.#instance!.responded(status, now - this.#sentAt)
  }

  /** Nothing of the request is held any more. */
  #finish(): void {
    if (this.#waiting) {
      this.#waiting = false
      const { app, port } = this.#request!.route
      this.#ctx.waiting.leave(app, port, this, this.#lane)
    }
    const lease = this.#lease
    this.#lease = null
    this.#upstream = null
    this.#request = null
    this.#body.drop()
    lease?.release()
  }
}
