import net from 'node:net'
import type { HostRoute } from '../../view/edge-view.ts'
import type { Lease } from '../balance/balancer.ts'
import type { ProxyContext } from '../context.ts'
import * as limits from '../limits.ts'
import type { InstanceSeries } from '../observe/series.ts'
import { UpstreamConnection, type UpstreamHome, type UpstreamTarget } from './connection.ts'

const REUSED_HEAD_END = '\r\n'
/** The app need not wait for a second request that will not come (S28). */
const ONCE_HEAD_END = 'Connection: close\r\n\r\n'

/** Connections to apps on this host and to the edges of others, pooled where they may be. */
export class Upstreams {
  readonly #ctx: () => ProxyContext
  readonly #backhaulPort: number
  readonly #pools = new Map<string, Pool>()
  /** Saves making a key per request; candidates are replaced when anything of them changes. */
  readonly #byCandidate = new WeakMap<object, Pool>()

  constructor(ctx: () => ProxyContext, backhaulPort: number) {
    this.#ctx = ctx
    this.#backhaulPort = backhaulPort
  }

  /**
   * A connection for one request. `fresh`: not one from the pool. `alone`: nobody else may use it
   * before or after, because something that names the client comes first on it.
   */
  take(lease: Lease, fresh: boolean, alone: boolean): UpstreamConnection {
    let pool = this.#byCandidate.get(lease.candidate)
    if (!pool || pool.closed || pool.via !== lease.via) {
      pool = this.#poolOf(lease)
      this.#byCandidate.set(lease.candidate, pool)
    }
    return pool.take(this.#ctx(), fresh, alone)
  }

  /** Closes what is idle: the process ends. */
  closeIdle(): void {
    for (const pool of this.#pools.values()) pool.closeIdle()
  }

  #poolOf({ candidate, via }: Lease): Pool {
    const service = candidate.endpoint.services[candidate.service]!
    const pooled = via !== null || service.concurrency.type === 'requests'
    const address = via ? via.meshAddress : candidate.endpoint.v4
    const port = via ? this.#backhaulPort : service.internalPort
    const key = `${address} ${port} ${pooled}`
    let pool = this.#pools.get(key)
    if (!pool) {
      const headEnd = pooled ? REUSED_HEAD_END : ONCE_HEAD_END
      const target = { address, port, backhaul: via !== null, headEnd }
      pool = new Pool(target, via, pooled, () => this.#pools.delete(key))
      this.#pools.set(key, pool)
    }
    pool.via = via
    const { app, machine } = candidate.endpoint
    pool.series = via ? null : this.#ctx().apps.instance(app, machine)
    return pool
  }
}

/** Idle connections to one address and port, the last used first, so that the others can age. */
class Pool implements UpstreamHome {
  via: HostRoute | null
  /** Of the machine at the other end; null: it is an edge. */
  series: InstanceSeries | null = null
  /** Its last connection has gone, and others may have made a pool of the same name since. */
  closed = false
  readonly #target: UpstreamTarget
  readonly #once: UpstreamTarget
  readonly #pooled: boolean
  readonly #onEmpty: () => void
  readonly #idle: UpstreamConnection[] = []
  readonly #open = new Set<UpstreamConnection>()
  #probing = false
  #ctx: ProxyContext | null = null

  constructor(target: UpstreamTarget, via: HostRoute | null, pooled: boolean, onEmpty: () => void) {
    this.#target = target
    this.#once = { ...target, headEnd: ONCE_HEAD_END }
    this.via = via
    this.#pooled = pooled
    this.#onEmpty = onEmpty
  }

  take(ctx: ProxyContext, fresh: boolean, alone: boolean): UpstreamConnection {
    this.#ctx = ctx
    if (!fresh && !alone) {
      const connection = this.#idle.pop()
      if (connection) {
        ctx.counters.upstreamsIdle--
        return connection
      }
    }
    const connection = new UpstreamConnection(ctx, this, alone ? this.#once : this.#target)
    this.#open.add(connection)
    return connection
  }

  keep(connection: UpstreamConnection): boolean {
    const ctx = this.#ctx!
    if (!this.#pooled || connection.target !== this.#target || ctx.draining) return false
    if (this.#idle.length >= limits.POOL_IDLE_MAX) {
      ctx.counters.limit('pool_idle_max')
      return false
    }
    const idleMs = this.#target.backhaul ? limits.BACKHAUL_POOL_IDLE_MS : limits.POOL_IDLE_MS
    connection.rest(ctx.deadlines.now + idleMs)
    this.#idle.push(connection)
    ctx.counters.upstreamsIdle++
    return true
  }

  connected(ms: number): void {
    this.series?.connected(ms)
  }

  forget(connection: UpstreamConnection): void {
    if (connection.wasConnected) this.series?.disconnected()
    const at = this.#idle.lastIndexOf(connection)
    if (at >= 0) {
      this.#idle.splice(at, 1)
      this.#ctx!.counters.upstreamsIdle--
    }
    this.#open.delete(connection)
    if (this.#open.size > 0) return
    this.closed = true
    this.#onEmpty()
  }

  /** A host that reports is there. One that does not may have lost its agent only: it is asked. */
  check(): void {
    if (!this.via || this.#probing || this.#ctx!.view.host(this.via.id)?.live) return
    this.#probing = true
    const probe = net.connect({ host: this.#target.address, port: this.#target.port })
    const end = (there: boolean) => {
      if (!this.#probing) return
      this.#probing = false
      probe.destroy()
      if (!there) for (const connection of [...this.#open]) connection.gone()
    }
    probe.setTimeout(limits.CONNECT_MS, () => end(false))
    probe.on('connect', () => end(true))
    probe.on('error', () => end(false))
  }

  closeIdle(): void {
    for (const connection of [...this.#idle]) connection.abort()
  }
}
