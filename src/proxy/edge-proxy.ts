import type net from 'node:net'
import { Deadlines } from '../base/deadlines.ts'
import { fatal, type OnFault } from '../base/faults.ts'
import type { Explanation } from '../model/explanation.ts'
import type { Endpoint } from '../model/resources.ts'
import type { EdgeView } from '../view/edge-view.ts'
import { createBackhaulServer } from './backhaul/server.ts'
import type { Balancer, Released } from './balance/balancer.ts'
import { LoadTable } from './balance/loads.ts'
import { nearestBalancer } from './balance/nearest.ts'
import { StickyTokens } from './balance/sticky-tokens.ts'
import { WaitQueues } from './balance/wait-queues.ts'
import { type ProxyContext, Scratch } from './context.ts'
import { type CounterSnapshot, Counters } from './counters.ts'
import { AppLog, type OnAppLog } from './errors/app-log.ts'
import { type ExplainQuestion, explain } from './explain/explainer.ts'
import { ExplainGrants } from './explain/grants.ts'
import { createListener, type OriginalDestination } from './listener/listener.ts'
import { NOTHING_OBSERVED, type ObserveChoices, Observer } from './observe/observer.ts'
import { type ObservedBatch, Outlet } from './observe/outlet.ts'
import type { RowsSnapshot } from './observe/rows.ts'
import { AppMetrics } from './observe/series.ts'
import { newRateMemory, RateTable } from './rates/rate-table.ts'
import { RetryBudgets } from './upstream/retry-budgets.ts'
import { Upstreams } from './upstream/upstreams.ts'

export interface EdgeProxyOptions {
  readonly view: EdgeView
  /** This host's id and region. */
  readonly host: string
  readonly region: string
  readonly appsDomains: readonly string[]
  readonly backhaulPort: number
  readonly onAppLog: OnAppLog
  /** Counts of this host's machines, shared by all workers; of this one alone when not given. */
  readonly loads?: LoadTable
  /** Where rates are counted, shared by all workers; by this one alone when not given. */
  readonly rates?: SharedArrayBuffer
  /** A slot of an app is free for whoever waits in another worker; those call `wake`. */
  readonly onReleased?: (app: string) => void
  readonly balancer?: Balancer
  readonly destinationOf?: OriginalDestination
  readonly now?: () => number
  /** Milliseconds that never go back, for time-outs. */
  readonly monotonic?: () => number
  readonly random?: () => number
  /** What is written down of requests; nothing when not given. */
  readonly observe?: ObserveChoices
  /** A fault of ours that costs one connection; not given: it ends the process. */
  readonly onFault?: OnFault
  /** Lines and spans on their way out; each is acknowledged by `observed`. */
  readonly onObserved?: (batch: ObservedBatch) => void
}

export type ListenOn =
  | { readonly fd: number }
  | { readonly host: string; readonly port: number; readonly reusePort?: boolean }

/** The request path of one worker. */
export class EdgeProxy {
  readonly #ctx: ProxyContext
  readonly #options: EdgeProxyOptions
  readonly #outlet: Outlet
  readonly #servers: net.Server[] = []

  constructor(options: EdgeProxyOptions) {
    this.#options = options
    const now = options.now ?? Date.now
    const random = options.random ?? Math.random
    const counters = new Counters()
    const { view, host, region, backhaulPort, loads = LoadTable.alone(), onReleased } = options
    const clock = options.monotonic ?? (() => performance.now())
    const deadlines = new Deadlines(clock)
    const outlet = outletOf(options, counters)
    this.#outlet = outlet
    const waiting = new WaitQueues({
      ...{ counters, random, loads, onReleased, now: () => deadlines.now },
    })
    const onRelease = ({ app, machine }: Endpoint, released: Released) =>
      waiting.released(app, machine, released)
    const appLog = new AppLog(options.onAppLog, now, counters)
    const onEject = ({ app, machine }: Endpoint, ms: number) => {
      counters.ejections++
      const message = `the machine fails requests: it gets none for ${ms / 1000} s`
      appLog.write({ app, machine, level: 'warn', code: '', message })
    }
    this.#ctx = {
      ...{ view, host, region, backhaulPort, counters, now, draining: false, deadlines, waiting },
      ...{
        clock,
        apps: new AppMetrics(counters),
        scratch: new Scratch(counters, options.onFault ?? fatal),
        connections: new Set(),
      },
      ...{ random, appLog, retries: new RetryBudgets(), stickyTokens: new StickyTokens() },
      appsDomains: options.appsDomains.map((domain) => domain.toLowerCase()),
      balancer:
        options.balancer ??
        nearestBalancer({ host, region, view, random, now, loads, onRelease, onEject, counters }),
      upstreams: new Upstreams(() => this.#ctx, backhaulPort),
      rates: new RateTable({
        memory: options.rates ?? newRateMemory(RATE_PLACES_ALONE),
        now: options.monotonic ?? monotonicMs(),
        onFull: () => counters.limit('rate_places'),
      }),
      explainGrants: new ExplainGrants(view, counters, now),
      observer: new Observer({
        ...(options.observe ?? NOTHING_OBSERVED),
        ...{ host, region, outlet, counters, random, now, onAppLog: options.onAppLog },
      }),
    }
    this.#ctx.deadlines.start()
  }

  /** Accepts the public's connections; resolves with the address listened on. */
  listen(on: ListenOn): Promise<net.AddressInfo> {
    return this.#listen(createListener(this.#ctx, this.#options.destinationOf), on)
  }

  /** Accepts other edges. */
  listenBackhaul(on: ListenOn): Promise<net.AddressInfo> {
    return this.#listen(createBackhaulServer(this.#ctx), on)
  }

  /** A slot of the app is free in another worker. */
  wake(app: string): void {
    this.#ctx.waiting.wake(app)
  }

  /** Something of the app has changed in the view. */
  changed(app: string): void {
    this.wake(app)
    const { apps, view } = this.#ctx
    // Nobody's routes are made only to find out that nothing is counted of them.
    if (apps.has(app)) apps.changed(app, view.app(app)?.endpoints ?? null)
  }

  snapshot(): CounterSnapshot {
    return this.#ctx.counters.snapshot()
  }

  /** Counts of each app. */
  series(): RowsSnapshot {
    return this.#ctx.apps.snapshot()
  }

  /** Batches of so many bytes are done with. */
  observed(bytes: number): void {
    this.#outlet.acknowledge(bytes)
  }

  /** What would become of a request now. */
  explain(question: ExplainQuestion): Explanation {
    return explain(this.#ctx, question)
  }

  /** What is open now: connections of clients and of other edges. */
  get open(): number {
    return this.#ctx.connections.size
  }

  /**
   * Stops accepting, ends idle connections, lets requests in flight finish. Resolves when nothing is
   * open any more, or after `drainMs`, when the rest has been cut.
   */
  async drain(drainMs: number): Promise<void> {
    this.#ctx.draining = true
    for (const server of this.#servers) server.close()
    for (const connection of this.#ctx.connections) connection.drain()
    this.#ctx.upstreams.closeIdle()
    const until = Date.now() + drainMs
    while (this.#ctx.connections.size > 0 && Date.now() < until)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_STEP_MS))
    this.close()
  }

  /** Ends everything at once. */
  close(): void {
    for (const server of this.#servers) server.close()
    for (const connection of this.#ctx.connections) connection.destroy()
    this.#ctx.upstreams.closeIdle()
    this.#ctx.deadlines.stop()
    this.#outlet.flush()
  }

  #listen(server: net.Server, on: ListenOn): Promise<net.AddressInfo> {
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ ...on, backlog: BACKLOG }, () => {
        server.off('error', reject)
        // Running out of descriptors fails one accept, not the process.
        server.on('error', () => this.#ctx.counters.error('accept'))
        this.#servers.push(server)
        resolve(server.address() as net.AddressInfo)
      })
    })
  }
}

function outletOf({ onObserved = () => {} }: EdgeProxyOptions, counters: Counters): Outlet {
  const later = (ms: number, callback: () => void) => void setTimeout(callback, ms).unref()
  return new Outlet({ counters, emit: onObserved, later })
}

/** The same for all threads of a process, other than `performance.now`. */
function monotonicMs(): () => number {
  const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return () => performance.now() + offsetMs
}

const RATE_PLACES_ALONE = 1_024
const BACKLOG = 4096
const DRAIN_STEP_MS = 25
