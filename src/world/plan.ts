import { distanceMs, egressPrefixes, type WorldDescription } from './description.ts'

/**
 * Which places a world has, and how wires join them: pure data, from the description alone.
 *
 * Every wire is a veth pair with a /30 and a /64. Documentation and benchmark prefixes only:
 * hosts 100.64.0.0/16, routers 10.255.0.0/16, clients 198.18.0.0/16, everything else 198.19.0.0/16.
 */
export interface WorldPlan {
  readonly places: readonly Place[]
  readonly wires: readonly Wire[]
  readonly routers: readonly RouterPlan[]
  readonly hosts: readonly HostPlan[]
  readonly clients: readonly {
    readonly place: string
    readonly region: string
    readonly v4: string
    readonly v6: string
  }[]
  readonly control: { readonly place: string; readonly v4: string; readonly v6: string }
  readonly resolver: { readonly place: string; readonly v4: string; readonly v6: string }
  readonly internet: { readonly place: string; readonly v4: string; readonly v6: string }
}

export interface Place {
  readonly name: string
  readonly kind: 'router' | 'host' | 'client' | 'service'
  /** Default gateways; routers have none. */
  readonly via?: { readonly v4: string; readonly v6: string }
}

export interface WireEnd {
  readonly place: string
  readonly device: string
  readonly v4: string
  readonly v6: string
}

export interface Wire {
  readonly a: WireEnd
  readonly b: WireEnd
}

export interface RouterPlan {
  readonly place: string
  readonly routerId: string
  readonly as: number
  readonly peers: readonly {
    readonly name: string
    readonly device: string
    readonly localV4: string
    readonly localV6: string
    readonly remoteV4: string
    readonly remoteV6: string
    readonly remoteAs: number
    readonly kind: 'host' | 'router'
    readonly distanceMs: number
    /** A host's own prefixes, which nobody else may announce. */
    readonly own: readonly string[]
  }[]
}

export interface HostPlan {
  readonly id: string
  readonly place: string
  readonly region: string
  readonly index: number
  readonly as: number
  readonly v4: string
  readonly v6: string
  /** The /64 that the host's machines have their default IPv6 sources from. */
  readonly machinesV6: string
  /** Prefixes of static sources that the host announces: its region's and the outbound proxies'. */
  readonly egress: readonly string[]
  readonly router: { readonly v4: string; readonly v6: string; readonly as: number }
}

/** Prefixes of hosts and routers. */
export const UNDERLAY = ['100.64.0.0/16', '10.254.0.0/15', '2001:db8:fe00::/39'] as const

const CORE = 'router-core'
/** Equally far from every region, and so far that nothing between two regions goes through it. */
const CORE_DISTANCE_MS = 250

export function planWorld(world: WorldDescription): WorldPlan {
  const wires: Wire[] = []
  const places: Place[] = [{ name: CORE, kind: 'router' }]
  const hosts: HostPlan[] = []
  const clients: WorldPlan['clients'][number][] = []

  world.regions.forEach((region, i) => {
    const router = `router-${region.code}`
    places.push({ name: router, kind: 'router' })
    const uplink = serviceWire(
      router,
      `client-${region.code}`,
      `198.18.${i + 1}`,
      `2001:db8:c000:${i + 1}:`,
      'cli0',
    )
    wires.push(uplink)
    places.push(leaf(uplink, 'client'))
    clients.push({ place: uplink.b.place, region: region.code, v4: uplink.b.v4, v6: uplink.b.v6 })
    for (let n = 1; n <= region.hosts; n++) {
      const index = hosts.length + 1
      const wire = hostWire(router, `${region.code}${n}`, index, n)
      wires.push(wire)
      places.push(leaf(wire, 'host'))
      hosts.push({
        id: `${region.code}${n}`,
        place: wire.b.place,
        region: region.code,
        index,
        as: hostAs(index),
        v4: wire.b.v4,
        v6: wire.b.v6,
        machinesV6: `2001:db8:a000:${index.toString(16)}::/64`,
        egress: egressPrefixes(world, region.code),
        router: { v4: wire.a.v4, v6: wire.a.v6, as: routerAs(i) },
      })
    }
  })

  const routerWires = planRouterWires(world)
  wires.push(...routerWires.map((r) => r.wire))
  const services = ['internet', 'resolver', 'control'].map((place, i) => {
    const wire = serviceWire(CORE, place, `198.19.${i + 1}`, `2001:db8:d000:${i + 1}:`, `svc${i}`)
    wires.push(wire)
    places.push(leaf(wire, 'service'))
    return { place, v4: wire.b.v4, v6: wire.b.v6 }
  })
  const [internet, resolver, control] = services as [
    (typeof services)[0],
    (typeof services)[0],
    (typeof services)[0],
  ]
  return {
    places,
    wires,
    hosts,
    clients,
    internet,
    resolver,
    control,
    routers: planRouters(world, hosts, wires, routerWires),
  }
}

const routerAs = (i: number) => 65_001 + i
const CORE_AS = 65_000
const hostAs = (index: number) => 65_100 + index

function leaf(wire: Wire, kind: Place['kind']): Place {
  return { name: wire.b.place, kind, via: { v4: wire.a.v4, v6: wire.a.v6 } }
}

function serviceWire(
  router: string,
  place: string,
  net4: string,
  net6: string,
  device: string,
): Wire {
  return {
    a: { place: router, device, v4: `${net4}.1`, v6: `${net6}:1` },
    b: { place, device: 'eth0', v4: `${net4}.2`, v6: `${net6}:2` },
  }
}

function hostWire(router: string, host: string, index: number, n: number): Wire {
  const base = index * 4
  const net4 = (last: number) => `100.64.${(base + last) >> 8}.${(base + last) & 255}`
  const net6 = `2001:db8:ff00:${index.toString(16)}:`
  return {
    a: { place: router, device: `host${n}`, v4: net4(1), v6: `${net6}:1` },
    b: { place: `host-${host}`, device: 'wan', v4: net4(2), v6: `${net6}:2` },
  }
}

interface RouterWire {
  readonly wire: Wire
  readonly distanceMs: number
}

/** Every pair of regions, and every region with the core. */
function planRouterWires(world: WorldDescription): RouterWire[] {
  const codes = world.regions.map((r) => r.code)
  const pairs = codes.flatMap((from, i) => codes.slice(i + 1).map((to) => [from, to] as const))
  const all = [...pairs, ...codes.map((code) => [code, 'core'] as const)]
  return all.map(([from, to], n) => ({
    wire: {
      a: {
        place: `router-${from}`,
        device: `r-${to}`,
        v4: `10.255.${n}.1`,
        v6: `2001:db8:fe00:${n}::1`,
      },
      b: {
        place: `router-${to}`,
        device: `r-${from}`,
        v4: `10.255.${n}.2`,
        v6: `2001:db8:fe00:${n}::2`,
      },
    },
    distanceMs: to === 'core' ? CORE_DISTANCE_MS : distanceMs(world, from, to),
  }))
}

function planRouters(
  world: WorldDescription,
  hosts: readonly HostPlan[],
  wires: readonly Wire[],
  routerWires: readonly RouterWire[],
): RouterPlan[] {
  const names = [CORE, ...world.regions.map((r) => `router-${r.code}`)]
  const asOf = (place: string) => (place === CORE ? CORE_AS : routerAs(names.indexOf(place) - 1))
  return names.map((place, i) => {
    const toRouters = routerWires.flatMap(({ wire, distanceMs }) => {
      const [me, other] = wire.a.place === place ? [wire.a, wire.b] : [wire.b, wire.a]
      if (me.place !== place) return []
      return [peer(me, other, asOf(other.place), 'router', distanceMs, [])]
    })
    const toHosts = hosts.flatMap((host) => {
      const wire = wires.find((w) => w.b.place === host.place)!
      return wire.a.place === place
        ? [peer(wire.a, wire.b, host.as, 'host', 0, [host.machinesV6])]
        : []
    })
    return {
      place,
      routerId: `10.254.0.${i + 1}`,
      as: asOf(place),
      peers: [...toHosts, ...toRouters],
    }
  })
}

function peer(
  me: WireEnd,
  other: WireEnd,
  remoteAs: number,
  kind: 'host' | 'router',
  distanceMs: number,
  own: readonly string[],
) {
  return {
    name: other.place.replace(/-/g, '_'),
    device: me.device,
    localV4: me.v4,
    localV6: me.v6,
    remoteV4: other.v4,
    remoteV6: other.v6,
    remoteAs,
    kind,
    distanceMs,
    own,
  }
}
