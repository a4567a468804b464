import type { Endpoint, EndpointService } from '../../model/resources.ts'
import type { Candidate, EdgeView, HostRoute, PortRoute } from '../../view/edge-view.ts'
import type { Counters } from '../counters.ts'
import { DOWN_MS, FULL_MS, SUSPECT_MS } from '../limits.ts'
import type {
  Balancer,
  ClaimFailure,
  ClaimOptions,
  Lease,
  Refusal,
  RefusalReason,
  Released,
  Standing,
} from './balancer.ts'
import { type LoadBucket, LoadTable } from './loads.ts'
import { Marks } from './marks.ts'
import { Outliers } from './outliers.ts'
import { isRamping, rampWeight, slowStartMsOf } from './slow-start.ts'
import { RANKS_MAX } from './steering.ts'

export interface NearestOptions {
  readonly host: string
  readonly region: string
  readonly view: EdgeView
  readonly random: () => number
  /** Milliseconds, any epoch. */
  readonly now: () => number
  /** Counts of this host's machines; of this thread alone when not given. */
  readonly loads?: LoadTable
  /** A slot of an app was given back. Called in the middle of other work: act later. */
  readonly onRelease?: (endpoint: Endpoint, released: Released) => void
  readonly counters?: Counters
  /** A machine gets no requests for so long, because it fails them. */
  readonly onEject?: (endpoint: Endpoint, ms: number) => void
}

const REFUSALS = Object.fromEntries(
  (
    [
      ...['none', 'unavailable', 'down', 'starting', 'hard-limit', 'unwanted'],
      ...['not-here', 'not-started', 'cordoned', 'unhealthy'],
    ] as RefusalReason[]
  ).map((refused) => [refused, { refused }]),
) as Record<RefusalReason, Refusal>

/** States of a machine that is on its way (back) to `started`. */
const ON_ITS_WAY: ReadonlySet<string> = new Set(['starting', 'restarting', 'replacing'])

/**
 * A slot can be lost to another worker between the look and the claim. Each time somebody has it, so
 * this is reached only when slots come and go as fast as we look.
 */
const CLAIM_TRIES_MAX = 8

/**
 * Nearest region first; inside it the least bucket of load, then this host before others, ties at
 * random (L1-L5). Machines of hosts that do not report, or that failed a moment ago, come last but
 * are not left out: the view may be stale.
 */
export function nearestBalancer(options: NearestOptions): Balancer {
  const nearest = new Nearest(options)
  return {
    claim(route: PortRoute, wanted: ClaimOptions): Lease | Refusal {
      return wanted.machine === null
        ? nearest.choose(route, wanted)
        : nearest.claimOwn(route, wanted.machine, wanted)
    },
    explain: (route, wanted) => nearest.explain(route, wanted),
  }
}

/** Where a candidate stands; the least is chosen. Steps are further apart than what they contain. */
const HOST_STEP = 1
const BUCKET_STEP = 2
const DISTANCE_STEP = 4
const DISTANCE_MAX = 1e6
const RANK_STEP = DISTANCE_STEP * DISTANCE_MAX * 2
const LAST = RANK_STEP * RANKS_MAX
const PROBE = LAST * 2
const EJECTED = PROBE * 2

class Nearest {
  readonly #options: NearestOptions
  readonly #pool: Pool
  /** What the last `#pick` chose. Fields, because a request should not cost an object more. */
  #best: Candidate | null = null
  #bestVia: HostRoute | null = null
  /** The route seen last whose machines have all served for long: that stays so. */
  #settled: PortRoute | null = null
  /** Some machine of the route that is looked at has just begun to serve. */
  #ramping = false
  /** What the last `#judge` found. */
  #via: HostRoute | null = null
  #score = Infinity

  constructor(options: NearestOptions) {
    this.#options = options
    const { loads = LoadTable.alone(), now, onRelease = () => {}, onEject = () => {} } = options
    this.#pool = {
      ...{ loads, onRelease, onEject, outliers: new Outliers(now) },
      suspects: new Marks(SUSPECT_MS, now),
      down: new Marks(DOWN_MS, now),
      full: new Marks(FULL_MS, now),
    }
  }

  choose(route: PortRoute, wanted: ClaimOptions): Lease | Refusal {
    for (let i = 1; ; i++) {
      const refusal = this.#pick(route, wanted)
      if (refusal) return refusal
      // Who may name a machine must not be able to have it thrown out as well.
      const best = this.#best!
      const judged = wanted.steering?.isClients(best.endpoint) ? null : route
      const lease = this.#claim(judged, best, this.#bestVia)
      if (lease) return lease
      if (i === CLAIM_TRIES_MAX) return REFUSALS['hard-limit']
    }
  }

  /** The machine is this host's, and another edge has chosen it. */
  claimOwn(route: PortRoute, machine: string, { exclude, steering }: ClaimOptions) {
    const candidate = route.candidates.find(({ endpoint }) => endpoint.machine === machine)
    if (!candidate || candidate.endpoint.host !== this.#options.host) return REFUSALS['not-here']
    if (exclude?.has(machine)) return REFUSALS.none
    const { endpoint, service } = candidate
    if (endpoint.state !== 'started') return REFUSALS['not-started']
    if (endpoint.cordoned) return REFUSALS.cordoned
    const forced = steering?.forcedMachine === machine
    if (!forced && !endpoint.services[service]!.healthy) return REFUSALS.unhealthy
    return this.#claim(null, candidate, null) ?? REFUSALS['hard-limit']
  }

  /** All candidates as the next claim would see them, the one that it would choose first. */
  explain(route: PortRoute, wanted: ClaimOptions): Standing[] {
    const { region, view } = this.#options
    this.#ramping = this.#isRamping(route)
    const standings = route.candidates.map((candidate): Standing => {
      const refused = this.#judge(candidate, wanted)
      const isLocal = candidate.endpoint.host === this.#options.host
      return {
        ...{ candidate, refused, score: this.#score, bucket: this.#bucket(candidate, isLocal) },
        distanceMs: view.distanceMs(region, candidate.endpoint.region),
        inFlight: isLocal ? this.#inFlight(candidate) : null,
        isLastResort: refused === null && this.#score >= LAST,
        isEjected: refused === null && this.#score >= EJECTED,
        rank: wanted.steering?.rank(candidate.endpoint) ?? 0,
      }
    })
    return standings.sort((a, b) => a.score - b.score || a.distanceMs - b.distanceMs)
  }

  #pick(route: PortRoute, wanted: ClaimOptions): Refusal | null {
    const { random, now } = this.#options
    this.#ramping = route !== this.#settled && this.#isRamping(route)
    const nowMs = this.#ramping ? now() : 0
    let best: Candidate | null = null
    let bestVia: HostRoute | null = null
    let bestScore = Infinity
    /** Of those with the best score. */
    let weights = 0
    let refused: RefusalReason = 'none'
    for (const candidate of route.candidates) {
      const why = this.#judge(candidate, wanted)
      if (why !== null) {
        refused = rather(refused, why)
        continue
      }
      const score = this.#score
      if (score > bestScore) continue
      const weight = this.#ramping ? rampWeight(candidate, slowStartMsOf(route), nowMs) : 1
      weights = score < bestScore ? weight : weights + weight
      if (score === bestScore && random() * weights >= weight) continue
      best = candidate
      bestVia = this.#via
      bestScore = score
    }
    // One that fails is better than nobody, but not better than a short wait.
    if (bestScore >= EJECTED && refused === 'hard-limit') best = null
    this.#best = best
    this.#bestVia = bestVia
    return best ? null : REFUSALS[refused]
  }

  /** Why the candidate cannot be chosen; null when it can, and `#via` and `#score` are its own then. */
  #judge(candidate: Candidate, wanted: ClaimOptions): RefusalReason | null {
    const { exclude, probe, steering = null } = wanted
    const { host, view } = this.#options
    const { down, outliers } = this.#pool
    const { endpoint } = candidate
    this.#score = Infinity
    if (exclude?.has(endpoint.machine)) return 'none'
    const rank = steering === null ? 0 : steering.rank(endpoint)
    if (rank === Infinity) return 'unwanted'
    const forced = steering !== null && steering.forcedMachine !== ''
    if (!isServing(candidate, forced)) return whyNot(endpoint)
    const via = endpoint.host === host ? null : view.host(endpoint.host)
    if (via === undefined) return 'none'
    if (down.has(endpoint.machine)) return 'down'
    const bucket = this.#bucket(candidate, via === null)
    if (bucket === 2 && (via === null || !isProbed(endpoint.machine, probe))) return 'hard-limit'
    this.#via = via
    this.#score = this.#scoreOf(endpoint, via, bucket) + rank * RANK_STEP
    if (!outliers.isEmpty && !forced && outliers.isEjected(candidate)) this.#score += EJECTED
    return null
  }

  #isRamping(route: PortRoute): boolean {
    if (route.candidates.length > 1 && isRamping(route, this.#options.now())) return true
    this.#settled = route
    return false
  }

  #inFlight(candidate: Candidate): number | null {
    const { loads } = this.#pool
    const slot = loads.slotOf(candidate.endpoint.machine, candidate.service)
    return slot < 0 ? null : loads.cells.count(slot)
  }

  #bucket(candidate: Candidate, local: boolean): LoadBucket {
    const { machine } = candidate.endpoint
    const service = serviceOf(candidate)
    if (!local) return this.#pool.full.has(machine) ? 2 : service.load
    const { loads } = this.#pool
    return loads.bucket(loads.slotOf(machine, candidate.service), service.concurrency)
  }

  #scoreOf(endpoint: Endpoint, via: HostRoute | null, bucket: LoadBucket): number {
    const { region, view } = this.#options
    const distance = Math.min(view.distanceMs(region, endpoint.region), DISTANCE_MAX)
    // A new machine would get the whole of what its own host accepts.
    const elsewhere = via === null || this.#ramping ? 0 : HOST_STEP
    const score = distance * DISTANCE_STEP + (bucket & 1) * BUCKET_STEP + elsewhere
    if (bucket === 2) return PROBE + score
    const last = (via !== null && !via.live) || this.#isSuspect(endpoint)
    return last ? LAST + score : score
  }

  #isSuspect({ machine, host }: Endpoint): boolean {
    const { suspects } = this.#pool
    return !suspects.isEmpty && (suspects.has(machine) || suspects.has(host))
  }

  /** `route` is null when what comes of it says nothing, or somebody else has chosen and learns it. */
  #claim(route: PortRoute | null, candidate: Candidate, via: HostRoute | null): Lease | null {
    // Load of a machine elsewhere is its own host's to count (L2).
    const doubtful = this.#isSuspect(candidate.endpoint)
    if (via !== null) return new ClaimedSlot(this.#pool, route, candidate, via, -1, doubtful)
    const { loads } = this.#pool
    const slot = loads.slotOf(candidate.endpoint.machine, candidate.service)
    if (slot < 0) this.#options.counters?.limit('load_slots')
    if (!loads.claim(slot, serviceOf(candidate).concurrency)) return null
    return new ClaimedSlot(this.#pool, route, candidate, null, slot, doubtful)
  }
}

const isProbed = (machine: string, probe: ClaimOptions['probe']): boolean =>
  !!probe && (probe === 'any' || probe.machine === machine)

const serviceOf = ({ endpoint, service }: Candidate): EndpointService => endpoint.services[service]!

/** What fails its checks may have just started, and not have passed them yet. */
function whyNot({ state, cordoned }: Endpoint): RefusalReason {
  if (cordoned) return 'unavailable'
  if (ON_ITS_WAY.has(state)) return 'starting'
  return state === 'started' ? 'down' : 'unavailable'
}

/** A machine that a client insists on is asked even when its checks fail (R30). */
const isServing = ({ endpoint, service }: Candidate, forced: boolean): boolean =>
  endpoint.state === 'started' &&
  !endpoint.cordoned &&
  (forced || !!endpoint.services[service]?.healthy)

/** Of two reasons the one that is better to wait for. */
const WORTH: readonly RefusalReason[] = ['none', 'unavailable', 'down', 'starting', 'hard-limit']
const rather = (a: RefusalReason, b: RefusalReason): RefusalReason =>
  WORTH.indexOf(a) >= WORTH.indexOf(b) ? a : b

/** What the leases of one balancer share. */
interface Pool {
  readonly loads: LoadTable
  /** Machines and hosts. */
  readonly suspects: Marks
  readonly down: Marks
  readonly full: Marks
  readonly outliers: Outliers
  readonly onRelease: (endpoint: Endpoint, released: Released) => void
  readonly onEject: (endpoint: Endpoint, ms: number) => void
}

class ClaimedSlot implements Lease {
  readonly candidate: Candidate
  readonly via: HostRoute | null
  readonly isDoubtful: boolean
  readonly #pool: Pool
  readonly #route: PortRoute | null
  readonly #slot: number
  #held = true
  /** A slot was taken for it on its host. */
  #wasUsed = true

  constructor(
    pool: Pool,
    route: PortRoute | null,
    candidate: Candidate,
    via: HostRoute | null,
    slot: number,
    isDoubtful: boolean,
  ) {
    this.candidate = candidate
    this.via = via
    this.isDoubtful = isDoubtful
    this.#pool = pool
    this.#route = route
    this.#slot = slot
  }

  release(): void {
    if (!this.#held) return
    this.#held = false
    const { loads, onRelease } = this.#pool
    const wasFull = loads.release(this.#slot, serviceOf(this.candidate).concurrency)
    if (this.via && !this.#wasUsed) return
    const released = this.via ? 'elsewhere' : wasFull ? 'of-full' : 'of-free'
    onRelease(this.candidate.endpoint, released)
  }

  failed(how: ClaimFailure): void {
    const { machine, host } = this.candidate.endpoint
    const { suspects, down, full, outliers, onEject } = this.#pool
    if (how === 'broke') {
      const ms = this.#route === null ? 0 : outliers.failed(this.#route, this.candidate)
      if (ms > 0) onEject(this.candidate.endpoint, ms)
      return
    }
    this.#wasUsed = false
    if (how === 'refused') return
    if (how === 'full') full.add(machine)
    else if (how === 'host-unreached') suspects.add(host)
    else {
      suspects.add(machine)
      down.add(machine)
    }
  }

  succeeded(): void {
    if (this.#route !== null) this.#pool.outliers.succeeded(this.candidate)
  }
}
