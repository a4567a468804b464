import type { PortRoute } from '../../view/edge-view.ts'
import { AT_LIMIT } from '../backhaul/preface.ts'
import { isRefusal, type Lease, type RefusalReason } from '../balance/balancer.ts'
import type { ProxyContext } from '../context.ts'
import { CODES, isErrorCode } from '../errors/codes.ts'
import * as limits from '../limits.ts'
import type { UpstreamConnection } from '../upstream/connection.ts'
import type { UpstreamFailure, UpstreamUser } from '../upstream/exchange.ts'
import type { ResponseHead, ResponseMode } from './response-head.ts'

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
  /** Request line and field lines, each with CRLF, without the empty line. */
  readonly head: string
  readonly method: string
  readonly idempotent: boolean
  readonly wantsUpgrade: boolean
  readonly responseMode: ResponseMode
  /** Nobody else may use the upstream connection. */
  readonly alone: boolean
}

/**
 * The way of one request to an upstream: claim, send, and try again while nothing has been lost. Each
 * client connection has one and uses it for all its requests, one after the other.
 */
export class Exchange implements UpstreamUser {
  responseMode: ResponseMode = 'public'
  toHead = false
  wantsUpgrade = false
  requestDone = true
  /** A response head has gone to the client. */
  responded = false

  readonly #ctx: ProxyContext
  readonly #client: ExchangeClient
  #request: ExchangeRequest | null = null
  #lease: Lease | null = null
  #upstream: UpstreamConnection | null = null
  #accepted = false
  /** Parts of the body that another attempt would have to send again; null once there is none. */
  #retained: (Buffer | string)[] | null = null
  #retainedBytes = 0
  /** Body beyond what came with the head has been sent. */
  #streamed = false
  #attempts = 0
  #startedAt = 0
  #fresh = false
  #excluded: Set<string> | null = null
  #lastFailure: UpstreamFailure | null = null
  #lastMachine = ''
  #queueTimer: NodeJS.Timeout | null = null

  constructor(ctx: ProxyContext, client: ExchangeClient) {
    this.#ctx = ctx
    this.#client = client
  }

  get active(): boolean {
    return this.#request !== null
  }

  /** `body`: what came with the head; `done`: it is the whole of it. */
  begin(request: ExchangeRequest, body: Buffer | string, done: boolean): void {
    this.#request = request
    this.responseMode = request.responseMode
    this.toHead = request.method === 'HEAD'
    this.wantsUpgrade = request.wantsUpgrade
    this.requestDone = done
    this.responded = false
    this.#retained = body.length > 0 ? [body] : null
    this.#retainedBytes = body.length
    this.#streamed = body.length > 0 || !done
    this.#attempts = 0
    this.#fresh = false
    this.#excluded = null
    this.#lastFailure = null
    this.#startedAt = this.#ctx.deadlines.now
    this.#attempt()
  }

  /** More of the body. */
  sendBody(part: Buffer, done: boolean): void {
    this.requestDone = done
    if (!this.#accepted) {
      this.#retained ??= []
      this.#retained.push(part)
      this.#retainedBytes += part.length
      if (this.#retainedBytes > limits.RETRY_BODY_BYTES_MAX) this.#client.pauseReading()
    }
    if (part.length > 0 && this.#upstream?.write(part) && this.#accepted)
      this.#client.pauseReading()
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
    this.abort()
    this.#ctx.counters.limit('request_idle_ms')
    if (this.responded) this.#client.cut()
    else this.#fail(504, 'PU02', 'no answer in time', app, machine)
  }

  pauseUpstream(): void {
    this.#upstream?.pause()
  }

  resumeUpstream(): void {
    this.#upstream?.resume()
  }

  writeTunnel(data: Buffer): void {
    if (this.#upstream?.write(data)) this.#client.pauseReading()
  }

  endTunnel(): void {
    this.#upstream?.end()
  }

  // What the upstream tells.

  onAccepted(): void {
    this.#accepted = true
    this.#retained = null
    this.#retainedBytes = 0
    this.#client.onAccepted()
    if (!this.requestDone) this.#client.resumeReading()
  }

  onInterim(head: ResponseHead): void {
    this.#client.sendInterim(head)
  }

  onResponse(head: ResponseHead, text: string, from: number, to: number, done: boolean): void {
    this.responded = true
    if (done) this.#finish()
    this.#client.sendResponse(head, text, from, to, done)
  }

  onBody(from: number, to: number, done: boolean): void {
    if (done) this.#finish()
    this.#client.sendBody(from, to, done)
  }

  onFailed(failure: UpstreamFailure): void {
    const lease = this.#lease
    const { route, machine } = this.#request!
    const retry = this.#mayRetry(failure)
    this.#upstream = null
    this.#accepted = false
    this.#lease = null
    this.#lastFailure = failure
    this.#lastMachine = lease?.candidate.endpoint.machine ?? ''
    this.#ctx.counters.error(failure.code)
    // An app that closes idle connections is no reason to try another machine.
    this.#fresh = failure.reused
    if (lease && !failure.reused) {
      this.#excluded ??= new Set()
      this.#excluded.add(lease.candidate.endpoint.machine)
      if (failure.code !== AT_LIMIT) lease.suspect()
    }
    lease?.release()
    if (retry) {
      this.#ctx.counters.retries++
      this.#attempt()
      return
    }
    this.#finish()
    this.#failWith(failure, route.app, machine, this.#lastMachine)
  }

  onCut(reason: string): void {
    const lease = this.#lease
    const app = this.#request?.route.app ?? ''
    this.#finish()
    this.#ctx.counters.error('PU02')
    const machine = lease?.candidate.endpoint.machine ?? ''
    const message = `the response broke off: ${reason}`
    this.#ctx.appLog.write({ app, machine, level: 'error', code: 'PU02', message })
    this.#client.cut()
  }

  onUpstreamDrain(): void {
    if (this.#accepted) this.#client.resumeReading()
  }

  onSwitched(head: ResponseHead, from: number, to: number): void {
    this.responded = true
    this.#client.switchProtocols(head, from, to)
  }

  onTunnelData(from: number, to: number): void {
    this.#client.sendTunnel(from, to)
  }

  onTunnelEnd(): void {
    this.#client.endTunnel()
  }

  // Private

  #attempt(): void {
    const request = this.#request!
    const wanted = { exclude: this.#excluded, machine: request.machine }
    const claimed = this.#ctx.balancer.claim(request.route, wanted)
    if (isRefusal(claimed)) {
      this.#onRefused(claimed.refused)
      return
    }
    this.#attempts++
    this.#lease = claimed
    const upstream = this.#ctx.upstreams.take(claimed, this.#fresh, request.alone)
    this.#upstream = upstream
    this.#accepted = false
    const headEnd = request.wantsUpgrade ? '\r\n' : upstream.target.headEnd
    let text = this.#client.requestText(claimed, request.head, headEnd)
    const retained = this.#retained
    const inline = retained !== null && typeof retained[0] === 'string'
    if (inline) text += retained[0]
    upstream.start(this, text)
    if (retained)
      for (let i = inline ? 1 : 0; i < retained.length; i++) upstream.write(retained[i]!)
    if (upstream.accepted) this.onAccepted()
  }

  #mayRetry(failure: UpstreamFailure): boolean {
    const request = this.#request!
    if (this.#attempts >= limits.ATTEMPTS_MAX) {
      this.#ctx.counters.limit('attempts')
      return false
    }
    if (this.#ctx.deadlines.now - this.#startedAt > limits.ATTEMPTS_MS) return false
    const whole = !this.#streamed
    switch (failure.stage) {
      case 'unsent':
        return true
      case 'refused':
        // The other host had sent it to the machine already: the same as if we had.
        return failure.code !== 'PU02' && failure.code !== 'PC03' && !this.#accepted
      case 'sent':
        if (!this.#accepted) return true
        return failure.reused && request.idempotent && whole
      default:
        return false
    }
  }

  #onRefused(reason: RefusalReason): void {
    const { route, machine } = this.#request!
    const last = this.#lastFailure
    const atLimit = reason === 'hard-limit' || last?.code === AT_LIMIT
    // On the host itself there is nothing to wait for: the edge that asked may know another machine.
    if (atLimit && machine === null && this.#queue()) return
    this.#finish()
    if (last && last.code !== AT_LIMIT) this.#failWith(last, route.app, machine, this.#lastMachine)
    else if (atLimit) this.#fail(503, machine === null ? 'PL02' : AT_LIMIT, '', route.app, '')
    else this.#fail(503, machine === null ? 'PR04' : 'PR02', '', route.app, '')
  }

  /** Waits for a slot (L6); false when it has waited long enough, or too many do. */
  #queue(): boolean {
    const { counters, deadlines } = this.#ctx
    if (
      deadlines.now - this.#startedAt >= limits.QUEUE_MS ||
      counters.queued >= limits.QUEUED_REQUESTS_MAX
    ) {
      counters.limit('queue')
      return false
    }
    // Machines that were full may not be any more; those that failed stay out.
    if (this.#lastFailure?.code === AT_LIMIT) this.#excluded = null
    counters.queued++
    this.#queueTimer = setTimeout(() => {
      this.#queueTimer = null
      counters.queued--
      this.#attempt()
    }, limits.QUEUE_STEP_MS)
    return true
  }

  #failWith(
    failure: UpstreamFailure,
    app: string,
    onlyMachine: string | null,
    machine: string,
  ): void {
    const again = this.#attempts > 1 && onlyMachine === null && failure.stage !== 'sent'
    const reason = again ? `last: ${failure.code} ${failure.reason}` : failure.reason
    if (failure.code === AT_LIMIT) this.#fail(503, 'PL02', '', app, machine)
    else this.#fail(502, again ? 'PR03' : failure.code, reason, app, machine)
  }

  #fail(status: 502 | 503 | 504, code: string, detail: string, app: string, machine: string): void {
    const what = isErrorCode(code) ? CODES[code] : 'the exchange with the app failed'
    const message = detail === '' ? what : `${what}: ${detail}`
    this.#ctx.counters.error(code)
    if (code !== AT_LIMIT) this.#ctx.appLog.write({ app, machine, level: 'error', code, message })
    this.#client.sendFailure(status, code, message)
  }

  /** Nothing of the request is held any more. */
  #finish(): void {
    if (this.#queueTimer) {
      clearTimeout(this.#queueTimer)
      this.#queueTimer = null
      this.#ctx.counters.queued--
    }
    const lease = this.#lease
    this.#lease = null
    this.#upstream = null
    this.#request = null
    this.#retained = null
    lease?.release()
  }
}
