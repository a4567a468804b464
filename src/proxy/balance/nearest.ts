import type { Candidate, EdgeView, HostRoute, PortRoute } from '../../view/edge-view.ts'
import { SUSPECT_MS } from '../limits.ts'
import type { Balancer, ClaimOptions, Lease, Refusal } from './balancer.ts'

export interface NearestOptions {
  readonly host: string
  readonly region: string
  readonly view: EdgeView
  readonly random: () => number
  /** Milliseconds, any epoch. */
  readonly now: () => number
}

const NONE: Refusal = { refused: 'none' }
const UNAVAILABLE: Refusal = { refused: 'unavailable' }
const HARD_LIMIT: Refusal = { refused: 'hard-limit' }

/**
 * Nearest region first, then the least bucket of load, ties at random (L1-L4). Machines of hosts that
 * do not report, or that failed a moment ago, come last but are not left out: the view may be stale.
 */
export function nearestBalancer(options: NearestOptions): Balancer {
  const inflight = new InflightCounts()
  const suspects = new Suspects(options.now)
  return {
    claim(route: PortRoute, wanted: ClaimOptions): Lease | Refusal {
      let best: Candidate | null = null
      let bestVia: HostRoute | null = null
      let bestScore = Infinity
      let ties = 0
      let refusal = NONE
      for (const candidate of route.candidates) {
        const { endpoint } = candidate
        if (wanted.machine !== null && endpoint.machine !== wanted.machine) continue
        if (wanted.exclude?.has(endpoint.machine)) continue
        if (!isServing(candidate)) {
          if (refusal === NONE) refusal = UNAVAILABLE
          continue
        }
        const local = endpoint.host === options.host
        const via = local ? null : options.view.host(endpoint.host)
        if (via === undefined || (wanted.machine !== null && !local)) continue
        if (bucketOf(candidate, local, inflight) === 2) {
          refusal = HARD_LIMIT
          continue
        }
        const score = scoreOf(candidate, via, options, inflight, suspects)
        if (score > bestScore) continue
        ties = score < bestScore ? 1 : ties + 1
        if (score === bestScore && options.random() * ties >= 1) continue
        best = candidate
        bestVia = via
        bestScore = score
      }
      if (!best) return refusal
      return new ClaimedSlot(best, bestVia, inflight, suspects)
    },
  }
}

function isServing({ endpoint, service }: Candidate): boolean {
  return endpoint.state === 'started' && !endpoint.cordoned && !!endpoint.services[service]?.healthy
}

/** 0 below the soft limit, 1 from there to the hard one, 2 at it (L2). */
function bucketOf(candidate: Candidate, local: boolean, inflight: InflightCounts): 0 | 1 | 2 {
  const service = candidate.endpoint.services[candidate.service]!
  if (!local) return service.load
  const n = inflight.get(candidate.endpoint.machine, candidate.service)
  const { soft, hard } = service.concurrency
  if (hard !== null && n >= hard) return 2
  return n >= soft ? 1 : 0
}

function scoreOf(
  candidate: Candidate,
  via: HostRoute | null,
  { region, view }: NearestOptions,
  inflight: InflightCounts,
  suspects: Suspects,
): number {
  const { endpoint } = candidate
  const distance = Math.min(view.distanceMs(region, endpoint.region), DISTANCE_MAX)
  const last = (via !== null && !via.live) || suspects.has(endpoint.machine)
  return (
    (last ? DISTANCE_MAX * 4 : 0) + distance * 2 + (bucketOf(candidate, via === null, inflight) & 1)
  )
}
const DISTANCE_MAX = 1e6

class ClaimedSlot implements Lease {
  readonly candidate: Candidate
  readonly via: HostRoute | null
  readonly #inflight: InflightCounts
  readonly #suspects: Suspects
  #held = true

  constructor(
    candidate: Candidate,
    via: HostRoute | null,
    inflight: InflightCounts,
    suspects: Suspects,
  ) {
    this.candidate = candidate
    this.via = via
    this.#inflight = inflight
    this.#suspects = suspects
    // Load of a machine elsewhere is its own host's to count (L2).
    if (via === null) inflight.add(candidate.endpoint.machine, candidate.service, 1)
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    if (this.via === null)
      this.#inflight.add(this.candidate.endpoint.machine, this.candidate.service, -1)
  }

  suspect(): void {
    this.#suspects.add(this.candidate.endpoint.machine)
  }
}

/** Requests (or connections) in flight by machine and service. */
class InflightCounts {
  readonly #counts = new Map<string, number[]>()

  get(machine: string, service: number): number {
    return this.#counts.get(machine)?.[service] ?? 0
  }

  add(machine: string, service: number, delta: 1 | -1): void {
    let services = this.#counts.get(machine)
    if (!services) {
      services = []
      this.#counts.set(machine, services)
    }
    services[service] = (services[service] ?? 0) + delta
  }
}

class Suspects {
  readonly #until = new Map<string, number>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  has(machine: string): boolean {
    if (this.#until.size === 0) return false
    const until = this.#until.get(machine)
    if (until === undefined) return false
    if (until > this.#now()) return true
    this.#until.delete(machine)
    return false
  }

  add(machine: string): void {
    if (this.#until.size >= SUSPECTS_MAX) this.#until.clear()
    this.#until.set(machine, this.#now() + SUSPECT_MS)
  }
}
const SUSPECTS_MAX = 10_000
