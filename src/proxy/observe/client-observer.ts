import type { PortRoute } from '../../view/edge-view.ts'
import type { Steering } from '../balance/steering.ts'
import type { ProxyContext } from '../context.ts'
import { standingsOf } from '../explain/explainer.ts'
import { beginExplaining, explainField } from '../explain/live.ts'
import type { HttpPolicy } from '../http1/policy.ts'
import type { PublicOrigin } from '../http1/public-connection.ts'
import type { RequestHead } from '../http1/request-head.ts'
import type { RequestRecord } from './record.ts'
import type { EdgeSeries } from './series.ts'
import { parseTraceparent, withTraceparent } from './trace-context.ts'

/**
 * One client's connection as metrics, access log, traces and explanations see it. A request that
 * nobody has asked about costs the counting alone.
 */
export class ClientObserver {
  /** Of the present request. */
  record: RequestRecord | null = null
  readonly #ctx: ProxyContext
  readonly #origin: PublicOrigin
  #series: EdgeSeries | null = null
  #policy: HttpPolicy | null = null
  /** The app that the connection itself is counted for: that of its first request. */
  #connection: EdgeSeries | null = null
  #isUnderWay = false
  /** Octets that are counted for some request already. */
  #received = 0
  #sent = 0

  constructor(ctx: ProxyContext, origin: PublicOrigin) {
    this.#ctx = ctx
    this.#origin = origin
  }

  /** Requests from here on are this route's. */
  routed(route: PortRoute, policy: HttpPolicy): void {
    this.#policy = policy
    this.#series = this.#ctx.apps.edge(route.app)
    if (this.#connection) return
    this.#connection = this.#series
    this.#connection.connected()
  }

  /** A request begins. May write the head anew, when the edge takes part in its trace. */
  begin(head: RequestHead, route: PortRoute, requestId: string): void {
    this.#isUnderWay = true
    const isExplained = head.explain !== '' && this.#mayExplain(head.explain, route)
    const wanted = this.#ctx.observer.sample(this.#policy!, head.traceparent)
    if (wanted === 0 && !isExplained) return
    const { clientAddress, localPort, https } = this.#origin
    const record = this.#ctx.observer.record(
      {
        ...{ requestId, app: route.app, method: head.method, target: head.target },
        ...{ host: head.host, httpMinor: head.minor, clientAddress, localPort, https },
        ...{ time: this.#ctx.now(), beganAt: this.#ctx.clock() },
        trace: parseTraceparent(head.traceparent),
      },
      wanted,
    )
    this.record = record
    if (isExplained) record.explaining = beginExplaining(this.#ctx, this.#origin, route)
    const { span } = record
    if (span)
      head.forward = withTraceparent(head.forward, span.traceId, span.spanId, span.parentId !== '')
  }

  /** It asks for machines or regions. */
  steered(route: PortRoute, steering: Steering): void {
    const explaining = this.record?.explaining
    if (explaining) explaining.standings = standingsOf(this.#ctx, route, steering)
  }

  /** The response begins; `ms` after the request did. `code`: the edge's own (L14), or ''. */
  responded(status: number, ms: number, code: string): void {
    if (!this.#isUnderWay) return
    this.#series!.responded(status, ms)
    const { record } = this
    if (!record) return
    record.status = status
    record.code = code
    record.headAt = record.request.beganAt + ms
  }

  /** The field that explains the response; '' when nobody has asked. */
  explainField(): string {
    if (!this.record?.explaining) return ''
    return explainField(this.record, this.#ctx.host, this.#ctx.clock())
  }

  /** The request is over; so many octets have gone each way since the connection began. */
  ended(isWhole: boolean, received: number, sent: number): void {
    const [up, down] = [received - this.#received, sent - this.#sent]
    this.#received = received
    this.#sent = sent
    // One that no app was found for is nobody's.
    if (!this.#isUnderWay) return
    this.#isUnderWay = false
    this.#series!.moved(up, down)
    const { record } = this
    if (!record) return
    this.record = null
    // A tunnel has no other end than that of its connection.
    const isComplete = isWhole || record.status === 101
    const end = { now: this.#ctx.clock(), received: up, sent: down, isComplete }
    this.#ctx.observer.finish(record, this.#policy!, end)
  }

  closed(): void {
    this.#connection?.disconnected()
    this.#connection = null
  }

  #mayExplain(token: string, { app }: PortRoute): boolean {
    const routes = this.#ctx.view.app(app)
    return routes !== undefined && this.#ctx.explainGrants.admits(token, routes)
  }
}
