import type { App, Endpoint, EndpointService } from '../model/resources.ts'
import type { AppRoutes, Candidate, PortRoute } from './edge-view.ts'

type EndpointPort = EndpointService['ports'][number]
type Protocol = EndpointService['protocol']

/** Ranges up to this length are kept port by port once asked for; longer ones stay intervals. */
export const EXPANDED_RANGE_MAX = 256

/** The routes of one app at one moment. Tables are built when a protocol is first asked for. */
export class BuiltAppRoutes implements AppRoutes {
  readonly name: string
  readonly org: string
  readonly networkId: number
  readonly sharedV4: string | null
  readonly endpoints: readonly Endpoint[]
  readonly #app: App
  readonly #tables: Partial<Record<Protocol, PortTable>> = {}

  /** `endpoints` must not change afterwards. */
  constructor(app: App, endpoints: readonly Endpoint[]) {
    this.#app = app
    this.name = app.name
    this.org = app.org
    this.networkId = app.networkId
    this.sharedV4 = app.sharedV4
    this.endpoints = endpoints
  }

  port(protocol: Protocol, port: number): PortRoute | undefined {
    this.#tables[protocol] ??= new PortTable(this.#app, protocol, this.endpoints)
    return this.#tables[protocol].find(port)
  }
}

interface Exposure extends Candidate {
  readonly port: EndpointPort
}

/** All exposures of one range of ports, in the order of the endpoints. */
interface PortRange {
  readonly start: number
  readonly end: number
  readonly exposures: Exposure[]
}

/**
 * Ports of one protocol. The bounds of all ranges cut the ports into segments, each of which is
 * served by the same ranges throughout; a segment's route is made when it is first asked for.
 */
class PortTable {
  readonly #app: App
  readonly #ranges: readonly PortRange[]
  /** First ports of the segments, ascending. */
  readonly #bounds: readonly number[]
  readonly #segments = new Map<number, PortRoute | null>()
  readonly #ports = new Map<number, PortRoute>()

  constructor(app: App, protocol: Protocol, endpoints: readonly Endpoint[]) {
    this.#app = app
    this.#ranges = collectRanges(protocol, endpoints)
    const bounds = new Set<number>()
    for (const { start, end } of this.#ranges) bounds.add(start).add(end + 1)
    this.#bounds = [...bounds].sort((a, b) => a - b)
  }

  find(port: number): PortRoute | undefined {
    return this.#ports.get(port) ?? this.#findInSegments(port)
  }

  #findInSegments(port: number): PortRoute | undefined {
    const index = lastAtMost(this.#bounds, port)
    const first = this.#bounds[index]
    if (first === undefined) return undefined
    let segment = this.#segments.get(index)
    if (segment === undefined) {
      segment = this.#build(first)
      this.#segments.set(index, segment)
    }
    if (!segment) return undefined
    const route = segment.port === port ? segment : { ...segment, port }
    if ((this.#bounds[index + 1] ?? first) - first <= EXPANDED_RANGE_MAX)
      this.#ports.set(port, route)
    return route
  }

  #build(port: number): PortRoute | null {
    const exposures = onePerMachine(
      this.#ranges.filter(({ start, end }) => start <= port && port <= end),
    )
    if (exposures.length === 0) return null
    const chosen = prevailing(exposures)
    const { handlers, forceHttps, httpOptions, tlsOptions, proxyProtoVersion } = chosen.port
    const { internalPort, options } = serviceOf(chosen)
    const candidates = exposures.map(({ endpoint, service }) => ({ endpoint, service }))
    return {
      ...{ app: this.#app.name, port, handlers, forceHttps, split: this.#app.releaseSplit },
      ...{ httpOptions, tlsOptions, proxyProtoVersion, candidates },
      ...{ internalPort, options },
      upSinceMsMax: Math.max(0, ...exposures.map(upSinceMsOf)),
    }
  }
}

const serviceOf = ({ endpoint, service }: Exposure): EndpointService => endpoint.services[service]!
const upSinceMsOf = (exposure: Exposure): number => serviceOf(exposure).upSinceMs ?? 0

function collectRanges(protocol: Protocol, endpoints: readonly Endpoint[]): PortRange[] {
  const ranges = new Map<string, PortRange>()
  for (const endpoint of endpoints)
    for (const [service, { protocol: own, ports }] of endpoint.services.entries()) {
      if (own !== protocol) continue
      for (const port of ports) {
        const { start, end } = port
        if (end < start) continue
        const id = `${start}-${end}`
        const range = ranges.get(id) ?? { start, end, exposures: [] }
        range.exposures.push({ endpoint, service, port })
        ranges.set(id, range)
      }
    }
  return [...ranges.values()]
}

/** A machine that exposes a port twice would get twice its share: its first service has it. */
function onePerMachine(ranges: readonly PortRange[]): Exposure[] {
  const first = new Map<string, Exposure>()
  for (const { exposures } of ranges)
    for (const exposure of exposures) {
      const { machine } = exposure.endpoint
      const known = first.get(machine)
      if (!known || exposure.service < known.service) first.set(machine, exposure)
    }
  return [...first.values()].sort((a, b) => compare(a.endpoint.machine, b.endpoint.machine))
}

/**
 * Machines of one port may differ in its settings while a deployment replaces them. The port is
 * treated as most of the machines that may serve it want; equal numbers: as the first of them by id.
 */
function prevailing(exposures: readonly Exposure[]): Exposure {
  const serving = exposures.filter(
    ({ endpoint }) => endpoint.state === 'started' && !endpoint.cordoned,
  )
  const votes = new Map<string, { count: number; exposure: Exposure }>()
  let best: { count: number; exposure: Exposure } | undefined
  for (const exposure of serving.length > 0 ? serving : exposures) {
    const settings = settingsOf(exposure)
    const vote = votes.get(settings) ?? { count: 0, exposure }
    votes.set(settings, vote)
    vote.count += 1
  }
  for (const vote of votes.values()) if (!best || vote.count > best.count) best = vote
  return best!.exposure
}

/** Endpoints are parsed once and kept, so the text of their settings is too. */
const settingsTexts = new WeakMap<EndpointPort, string>()

function settingsOf(exposure: Exposure): string {
  const { port } = exposure
  let text = settingsTexts.get(port)
  if (text === undefined) {
    const { handlers, forceHttps, httpOptions, tlsOptions, proxyProtoVersion } = port
    const settings = [handlers, forceHttps, httpOptions, tlsOptions, proxyProtoVersion]
    text = JSON.stringify([...settings, serviceOf(exposure).options])
    settingsTexts.set(port, text)
  }
  return text
}

/** Index of the last element that is at most `value`; -1 when there is none. */
function lastAtMost(sorted: readonly number[], value: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}

export const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
