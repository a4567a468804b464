import { canonicalIp, unmapped } from '../base/ip.ts'
import type { Address, App, Endpoint, ExplainGrant, Host, Region } from '../model/resources.ts'
import { EXPLAIN_GRANTS_PER_APP_MAX } from '../model/resources.ts'
import { type FeedLine, meshAddress } from '../model/wire.ts'
import { BuiltAppRoutes, compare } from './app-routes.ts'
import type { AddressOwner, AppRoutes, EdgeView, HostRoute } from './edge-view.ts'
import {
  FeedFold,
  type ResourceEvent,
  type ViewProblem,
  type ViewState,
} from './resource-events.ts'

/** Distance of a pair of regions that nobody has set; further than any that is set. */
export const DISTANCE_UNKNOWN_MS = 1_000_000

const NO_GRANTS: readonly ExplainGrant[] = []

/**
 * The edge's view, kept by the lines of a feed. A change costs as much as the app that it belongs
 * to: routes of an app are made anew when it is next asked for.
 */
export class EdgeIndex implements EdgeView {
  readonly #fold = new FeedFold(() => new EdgeState())

  get revision(): number {
    return this.#fold.revision
  }

  /** Takes the next line; gives the names of the apps that it changed. Never throws. */
  apply(line: FeedLine): readonly string[] {
    return this.#fold.apply(line)
  }

  /** Resources that could not be read, at most PROBLEMS_MAX. */
  problems(): readonly ViewProblem[] {
    return this.#fold.problems()
  }

  address(address: string): AddressOwner | undefined {
    return this.#fold.state.owner(address)
  }

  app(name: string): AppRoutes | undefined {
    return this.#fold.state.app(name)
  }

  host(id: string): HostRoute | undefined {
    return this.#fold.state.host(id)
  }

  region(code: string): Region | undefined {
    return this.#fold.state.region(code)
  }

  explainGrants(app: string): readonly ExplainGrant[] {
    return this.#fold.state.explainGrants(app)
  }

  distanceMs(from: string, to: string): number {
    return this.#fold.state.distanceMs(from, to)
  }
}

class EdgeState implements ViewState {
  readonly #regions = new Map<string, Region>()
  readonly #hosts = new Map<string, Host>()
  readonly #live = new Set<string>()
  readonly #apps = new Map<string, App>()
  readonly #addresses = new Map<string, Address>()
  readonly #endpoints = new Map<string, Map<string, Endpoint>>()
  readonly #grants = new Map<string, readonly ExplainGrant[]>()
  /** Made on demand, dropped when something of them changes. */
  readonly #routes = new Map<string, BuiltAppRoutes>()
  readonly #hostRoutes = new Map<string, HostRoute>()

  apply(event: ResourceEvent): readonly string[] {
    switch (event.kind) {
      case 'region':
        assign(this.#regions, event.id, event.value)
        return []
      case 'host':
        assign(this.#hosts, event.id, event.value)
        this.#hostRoutes.delete(event.id)
        return []
      case 'host-live':
        if (event.value) this.#live.add(event.id)
        else this.#live.delete(event.id)
        this.#hostRoutes.delete(event.id)
        return []
      case 'app':
        assign(this.#apps, event.id, event.value)
        this.#routes.delete(event.id)
        return [event.id]
      case 'address':
        return this.#setAddress(event.id, event.value)
      case 'endpoint':
        return this.#setEndpoint(event.app, event.id, event.value)
      case 'explain':
        return this.#setGrant(event.app, event.id, event.value)
    }
  }

  appNames(): Iterable<string> {
    return this.#apps.keys()
  }

  #setAddress(id: string, value: Address | undefined): readonly string[] {
    const address = canonicalIp(id) ?? id
    const before = this.#addresses.get(address)?.app
    assign(this.#addresses, address, value)
    return [...new Set([before, value?.app].filter((app) => typeof app === 'string'))]
  }

  #setEndpoint(app: string, machine: string, value: Endpoint | undefined): readonly string[] {
    const endpoints = this.#endpoints.get(app) ?? new Map<string, Endpoint>()
    assign(endpoints, machine, value)
    assign(this.#endpoints, app, endpoints.size > 0 ? endpoints : undefined)
    this.#routes.delete(app)
    return [app]
  }

  /** Changes nothing of how the app is routed to. */
  #setGrant(app: string, id: string, value: ExplainGrant | undefined): readonly string[] {
    const others = this.explainGrants(app).filter((grant) => grant.id !== id)
    const grants = value ? [...others, value].slice(-EXPLAIN_GRANTS_PER_APP_MAX) : others
    assign(this.#grants, app, grants.length > 0 ? grants : undefined)
    return []
  }

  explainGrants(app: string): readonly ExplainGrant[] {
    return this.#grants.get(app) ?? NO_GRANTS
  }

  owner(text: string): AddressOwner | undefined {
    const address = this.#addresses.get(text) ?? this.#addresses.get(canonical(text))
    if (address?.state === 'shared') return { kind: 'shared', address: address.address }
    if (address?.state !== 'attached' || address.app === null) return undefined
    const app = this.app(address.app)
    return app && { kind: 'app', app }
  }

  app(name: string): AppRoutes | undefined {
    const known = this.#routes.get(name)
    if (known) return known
    const app = this.#apps.get(name)
    if (!app) return undefined
    // An older app of the name, of another org, may still have machines; its network is another.
    const network = networkHead(app.networkId)
    const endpoints = [...(this.#endpoints.get(name)?.values() ?? [])].filter(({ v6 }) =>
      v6.startsWith(network),
    )
    endpoints.sort((a, b) => compare(a.machine, b.machine))
    const routes = new BuiltAppRoutes(app, endpoints)
    this.#routes.set(name, routes)
    return routes
  }

  host(id: string): HostRoute | undefined {
    const known = this.#hostRoutes.get(id)
    if (known) return known
    const host = this.#hosts.get(id)
    if (!host) return undefined
    const route = {
      ...{ id, region: host.region },
      ...{ meshAddress: meshAddress(host.index), live: this.#live.has(id) },
    }
    this.#hostRoutes.set(id, route)
    return route
  }

  region(code: string): Region | undefined {
    return this.#regions.get(code)
  }

  distanceMs(from: string, to: string): number {
    if (from === to) return 0
    const there = this.#regions.get(from)?.distancesMs
    if (there && Object.hasOwn(there, to)) return there[to]!
    const back = this.#regions.get(to)?.distancesMs
    return back && Object.hasOwn(back, from) ? back[from]! : DISTANCE_UNKNOWN_MS
  }
}

/** How the 6PN addresses of a network's machines begin (N2: `fdaa:<network>:a7b:...`). */
const networkHead = (id: number): string =>
  `fdaa:${(id >>> 16).toString(16)}:${(id & 0xffff).toString(16)}:`

const canonical = (address: string): string => {
  const plain = unmapped(address)
  return canonicalIp(plain) ?? plain
}

function assign<V>(map: Map<string, V>, key: string, value: V | undefined): void {
  if (value === undefined) map.delete(key)
  else map.set(key, value)
}
