import type { PortRoute } from '../../view/edge-view.ts'
import { AT_LIMIT, codeOfRefusal, DRAINING, isHostRefusal, TIMED_OUT } from '../backhaul/preface.ts'
import {
  isRefusal,
  type Lease,
  type Probe,
  type Refusal,
  type RefusalReason,
} from '../balance/balancer.ts'
import { type Turn, type Waiter, type WaitReason, waitMs } from '../balance/wait-queues.ts'
import type { ProxyContext } from '../context.ts'
import { CODES, isErrorCode } from '../errors/codes.ts'
import * as limits from '../limits.ts'
import type { UpstreamConnection } from '../upstream/connection.ts'
import type { UpstreamFailure, UpstreamUser } from '../upstream/exchange.ts'
import type { ResponseHead, ResponseMode } from './response-head.ts'
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
 * The way of one request to an upstream: claim, wait for a slot, send, and try again while nothing has
 * been lost. Each client connection has one and uses it for all its requests, one after the other.
 */
export class Exchange implements UpstreamUser, Waiter {
  responseMode: ResponseMode = 'public'
  toHead = false
  wantsUpgrade = false
  requestDone = true
  /** A response head has gone to the client. */
  responded = false
  ticket = 0
  waitsUntil = 0

  readonly #ctx: ProxyContext
  readonly #client: ExchangeClient
  readonly #body: RetainedBody
  #request: ExchangeRequest | null = null
  #lease: Lease | null = null
  #upstream: UpstreamConnection | null = null
  #accepted = false
  #attempts = 0
  /** Attempts after which an app may have acted on the request. */
  #repeats = 0
  #startedAt = 0
  #fresh = false
  #waiting = false
  #excluded: Set<string> | null = null
  /** Of the excluded those that were full: the wait is for them. */
  #full: string[] | null = null
  #lastFailure: UpstreamFailure | null = null
  #lastMachine = ''
  /** More than one machine has failed. */
  #several = false
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
    this.responded = false
    this.#body.begin(body)
    this.ticket = 0
    this.#attempts = 0
    this.#repeats = 0
    this.#fresh = false
    this.#excluded = null
    this.#full = null
    this.#lastFailure = null
    this.#lastMachine = ''
    this.#several = false
    this.#crowded = false
    this.#startedAt = this.#ctx.deadlines.now
    const { route, machine } = request
    // Who comes now must not overtake those who wait already.
    if (machine === null && this.#ctx.waiting.has(route.app, route.port))
      this.#onRefused('hard-limit')
    else this.#attempt()
  }

  /** More of the body. */
  sendBody(part: Buffer, done: boolean): void {
    this.requestDone = done
    this.#body.add(part)
    if (this.#body.over) {
      if (this.#accepted) this.#body.drop()
      else this.#client.pauseReading()
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
    if (this.#waiting) {
      this.#giveUp('hard-limit')
      return
    }
    this.abort()
    this.#ctx.counters.limit('request_idle_ms')
    if (this.responded) this.#client.cut()
    else this.#fail(504, 'PU02', NO_ANSWER, app, machine)
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
    const { route, machine } = this.#request!
    const { machine: failed } = lease.candidate.endpoint
    const retry = this.#mayRetry(failure)
    this.#upstream = null
    this.#accepted = false
    this.#lease = null
    this.#ctx.counters.error(failure.code)
    // An app that closes idle connections, or an edge that is being replaced, is no reason to try
    // another machine.
    this.#fresh = failure.reused || failure.code === DRAINING
    if (!this.#fresh) this.#exclude(lease, failure)
    this.#lastFailure = failure
    this.#several ||= this.#lastMachine !== '' && this.#lastMachine !== failed
    this.#lastMachine = failed
    lease.release()
    if (retry) {
      this.#ctx.counters.retries++
      this.#attempt()
      return
    }
    this.#finish()
    this.#failWith(failure, route.app, machine)
  }

  onCut(reason: string): void {
    const lease = this.#lease
    const app = this.#request?.route.app ?? ''
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
    const claimed = this.#claim(probe)
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
    const claimed = this.#claim(null)
    if (isRefusal(claimed)) this.#giveUp(claimed.refused)
    else this.#send(claimed)
  }

  // Private

  #attempt(): void {
    const claimed = this.#claim(null)
    if (isRefusal(claimed)) this.#onRefused(claimed.refused)
    else this.#send(claimed)
  }

  #claim(probe: Probe | null): Lease | Refusal {
    const { route, machine } = this.#request!
    return this.#ctx.balancer.claim(route, { exclude: this.#excluded, machine, probe })
  }

  #send(lease: Lease): void {
    const request = this.#request!
    this.#attempts++
    this.#lease = lease
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

  #exclude(lease: Lease, failure: UpstreamFailure): void {
    const { machine } = lease.candidate.endpoint
    this.#excluded ??= new Set()
    this.#excluded.add(machine)
    if (failure.code === AT_LIMIT) {
      lease.failed('full')
      // Bounded by the time in the queue, and by its pace.
      this.#attempts--
      this.#full ??= []
      this.#full.push(machine)
    } else if (isHostRefusal(failure.code)) lease.failed('refused')
    else {
      if (failure.code === 'PU03') lease.failed('host-unreached')
      else if (waitReasonOf(failure) === 'unreached') lease.failed('unreached')
      // What another edge saw is in the app's log already.
      if (failure.stage !== 'refused')
        this.#log(
          failure.code,
          textOf(failure.code, failure.reason),
          this.#request!.route.app,
          machine,
        )
    }
  }

  #mayRetry(failure: UpstreamFailure): boolean {
    if (this.#attempts >= limits.ATTEMPTS_MAX) {
      this.#ctx.counters.limit('attempts')
      return false
    }
    if (this.#ctx.deadlines.now - this.#startedAt > limits.ATTEMPTS_MS) return false
    switch (failure.stage) {
      case 'unsent':
        return true
      case 'refused':
        // The other host had sent it to the machine already: the same as if we had.
        if (failure.code === TIMED_OUT) return false
        return failure.code === 'PU02' ? this.#mayRepeat() : true
      case 'sent':
        return this.#mayRepeat()
      default:
        return false
    }
  }

  /** Some app may have acted on it: again only when that does no harm (RFC 9110 9.2.2). */
  #mayRepeat(): boolean {
    if (!this.#request!.idempotent || !this.#body.whole) return false
    return ++this.#repeats <= limits.REPEATS_MAX
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
    const last = this.#lastFailure
    const lastly = last && waitReasonOf(last)
    this.waitsUntil = this.#startedAt + waitMs(reason, lastly)
    if (this.waitsUntil <= deadlines.now || this.#attempts >= limits.ATTEMPTS_MAX) return false
    if (!waiting.join(app, port, this)) {
      counters.limit('queue_per_app_max')
      this.#crowded = true
      return false
    }
    this.#waiting = true
    // Others are only full: no need to go back to one that could not be reached.
    if (lastly === 'unreached' && reason !== 'hard-limit') this.#excluded = null
    else if (this.#full) for (const machine of this.#full) this.#excluded?.delete(machine)
    this.#full = null
    return true
  }

  /** Nobody can take it, and it will not wait. */
  #giveUp(reason: RefusalReason): void {
    const { route, machine } = this.#request!
    const last = this.#lastFailure
    const atLimit = reason === 'hard-limit' || last?.code === AT_LIMIT
    const why = this.#crowded ? TOO_MANY_WAIT : atLimit ? ALL_FULL : NONE_SERVES
    this.#finish()
    if (machine !== null && !last) this.#client.sendFailure(503, codeOfRefusal(reason), '')
    else if (last && last.code !== AT_LIMIT) this.#failWith(last, route.app, machine)
    else this.#fail(503, 'PR04', textOf('PR04', why), route.app, '')
  }

  #failWith(failure: UpstreamFailure, app: string, onlyMachine: string | null): void {
    const { code, reason } = failure
    const nobody = isHostRefusal(code)
    if (code === AT_LIMIT) {
      this.#fail(503, 'PR04', textOf('PR04', ALL_FULL), app, '')
      return
    }
    if (code === TIMED_OUT) {
      this.#client.sendFailure(504, 'PU02', NO_ANSWER)
      return
    }
    if (onlyMachine === null && (nobody || (this.#several && code !== 'PU02'))) {
      const message = textOf('PR03', `last: ${textOf(code, reason)} (${code})`)
      this.#fail(nobody ? 503 : 502, 'PR03', message, app, '')
    } else {
      const message = textOf(code, reason)
      // The others were logged when they failed.
      if (failure.reused) this.#log(code, message, app, this.#lastMachine)
      this.#client.sendFailure(502, code, message)
    }
  }

  #fail(
    status: 502 | 503 | 504,
    code: string,
    message: string,
    app: string,
    machine: string,
  ): void {
    this.#ctx.counters.error(code)
    this.#log(code, message, app, machine)
    this.#client.sendFailure(status, code, message)
  }

  #log(code: string, message: string, app: string, machine: string): void {
    this.#ctx.appLog.write({ app, machine, level: 'error', code, message })
  }

  /** Nothing of the request is held any more. */
  #finish(): void {
    if (this.#waiting) {
      this.#waiting = false
      const { app, port } = this.#request!.route
      this.#ctx.waiting.leave(app, port, this)
    }
    const lease = this.#lease
    this.#lease = null
    this.#upstream = null
    this.#request = null
    this.#body.drop()
    lease?.release()
  }
}

const ALL_FULL = 'all are at their hard limit'
const TOO_MANY_WAIT = 'all are at their hard limit, and too many requests wait already'
const NONE_SERVES = 'none is started, healthy and not cordoned'
const NO_ANSWER = 'the app did not answer in time'

function waitReasonOf({ code, stage }: UpstreamFailure): WaitReason | null {
  if (code === AT_LIMIT) return 'full'
  const unsentThere = stage === 'refused' && code.startsWith('PC')
  return stage === 'unsent' || unsentThere ? 'unreached' : null
}

/** What a code means, and in this case. */
function textOf(code: string, detail: string): string {
  const what = isErrorCode(code) ? CODES[code] : detail
  return detail === '' || what === detail ? what : `${what}: ${detail}`
}
