import type { HeadFault } from '../../base/http1/head-faults.ts'
import type { ResponseHead } from '../../base/http1/response-head.ts'
import type { PortRoute } from '../../view/edge-view.ts'
import type { Lease } from '../balance/balancer.ts'
import { Steering } from '../balance/steering.ts'
import { HttpConnection } from '../http1/connection.ts'
import { policyOf } from '../http1/policy.ts'
import type { RequestHead } from '../http1/request-head.ts'
import * as limits from '../limits.ts'
import { proxyHeader } from '../tcp/proxy-header.ts'
import {
  ACCEPT_LINE,
  codeOfRefusal,
  DRAINING,
  type Preface,
  parsePreface,
  refusalLine,
  TIMED_OUT,
} from './preface.ts'

/**
 * Another edge's pooled connection: a preface, then a request that its edge has scanned and given its
 * headers, again and again. Here the slot is claimed and the messages are framed, no more.
 */
export class BackhaulConnection extends HttpConnection {
  protected readonly trusted = true
  protected override readonly refusesWhenDraining = true
  #preface: Preface | null = null
  #route: PortRoute | null = null
  #accepted = false
  #eager = false

  protected headStart(text: string): number {
    const end = text.indexOf('\r\n')
    const preface = parsePreface(text.slice(0, end))
    this.#preface = preface?.kind === 'http' ? preface : null
    return this.#preface ? end + 2 : -1
  }

  protected onRequest(head: RequestHead, body: Buffer | string): void {
    const preface = this.#preface!
    this.#accepted = false
    // Said at once where the other edge could not repeat the request, or waits with its body;
    // otherwise with the response, which saves both of us a packet.
    this.#eager = !head.idempotent || !this.body.done || body.length > 0
    if (this.ctx.draining) {
      this.sendFailure(503, DRAINING)
      return
    }
    const route = this.ctx.view.app(preface.app)?.port('tcp', preface.port)
    if (!route) {
      this.sendFailure(503, codeOfRefusal('not-here'))
      return
    }
    this.#route = route
    const policy = policyOf(route)
    this.idleMs = policy.idleMs + limits.BACKHAUL_SLACK_MS
    this.deadline = this.ctx.deadlines.now + this.idleMs
    this.exchange.begin(
      {
        route,
        machine: preface.machine,
        steering: preface.forced ? new Steering({ forcedMachine: preface.machine }) : null,
        head: head.forward,
        method: head.method,
        idempotent: head.idempotent,
        wantsUpgrade: head.upgrade !== '',
        responseMode: 'pristine',
        alone: policy.proxyProto !== null || head.upgrade !== '',
        record: null,
      },
      body,
      this.body.done,
    )
  }

  requestText(_lease: Lease, head: string, headEnd: string): string {
    const version = policyOf(this.#route!).proxyProto
    return (version ? proxyHeader(this.#preface!, version) : '') + head + headEnd
  }

  onAccepted(): void {
    if (!this.#eager) return
    this.#eager = false
    this.send(this.#acceptOnce())
  }

  protected tunnelIdleMs(): number {
    return policyOf(this.#route!).tunnelIdleMs + limits.BACKHAUL_SLACK_MS
  }

  sendFailure(status: number, code: string): void {
    if (this.#accepted) {
      this.cut()
      return
    }
    if (!this.body.done) this.closing = true
    this.answer(refusalLine(status === 504 ? TIMED_OUT : code))
  }

  protected refuse(_fault: HeadFault): void {
    // Another edge has checked the request: this is not one, or we differ, which must not be hidden.
    this.ctx.counters.error('backhaul_refused')
    this.cut()
  }

  protected interimText(head: ResponseHead): string {
    return `${this.#acceptOnce()}HTTP/1.1 ${head.statusText}\r\n${head.fields}\r\n`
  }

  protected responseText(head: ResponseHead, bodyGoesOn: boolean): string {
    let { fields } = head
    if (head.status === 101 || (head.status === 426 && head.upgrade !== ''))
      fields += `Connection: Upgrade\r\nUpgrade: ${head.upgrade}\r\n`
    if (head.status !== 101 && bodyGoesOn && !head.chunked && head.length < 0) this.closing = true
    if (this.closing) fields += 'Connection: close\r\n'
    return `${this.#acceptOnce()}HTTP/1.${head.minor} ${head.statusText}\r\n${fields}\r\n`
  }

  #acceptOnce(): string {
    if (this.#accepted) return ''
    this.#accepted = true
    return ACCEPT_LINE
  }
}
