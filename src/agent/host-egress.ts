import type { Clock } from '../base/clock.ts'
import { Converger } from '../base/converge.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import type { EgressTable } from '../egress/egress-table.ts'
import type { Overlay } from '../egress/overlay.ts'
import type { OutboundNetwork } from '../mesh/outbound-network.ts'
import type { EgressPair, Host } from '../model/resources.ts'
import { placeOn } from '../outbound/placement.ts'
import { PairsOnHost } from './egress-pairs.ts'
import type { EgressRecords, EgressSink, HostEgress } from './parts.ts'

export interface HostEgressDeps {
  readonly host: Pick<Host, 'id' | 'region'>
  readonly table: EgressTable
  readonly overlay: Overlay
  /** Undefined: the host runs no outbound proxy. */
  readonly outbound?: OutboundNetwork | undefined
  /** Told, when it changes, whether any outbound proxy has a place here; its sources are in force. */
  readonly onOutbound?: (isWanted: boolean) => void
  readonly clock: Clock
  readonly log: Logger
}

export const createHostEgress = (deps: HostEgressDeps): HostEgress => new KernelHostEgress(deps)

/** Between two looks at the flows of blocks that are to be given back. */
const DRAIN_LOOK_MS = 1_000

class KernelHostEgress implements HostEgress {
  readonly #deps: HostEgressDeps
  readonly #pairs: PairsOnHost
  readonly #converger: Converger<EgressRecords>
  readonly #ready = Promise.withResolvers<void>()
  #sink: EgressSink | undefined
  readonly #closed = new AbortController()
  #draining: Promise<void> | undefined
  /** What the kernel was brought to last; the same records again are a look whether it still is so. */
  #last: EgressRecords | undefined
  #isOutboundWanted: boolean | undefined

  constructor(deps: HostEgressDeps) {
    this.#deps = deps
    this.#pairs = new PairsOnHost(deps.host)
    const { clock, log } = deps
    this.#converger = new Converger({ apply: (records) => this.#converge(records), clock, log })
  }

  async start(): Promise<void> {
    await this.#deps.table.start()
  }

  follow(sink: EgressSink): void {
    this.#sink = sink
  }

  apply(records: EgressRecords): void {
    // Before machines are told of the same records: they may be admitted with a pair's addresses.
    this.#deps.table.hold(addressesOf(records.pairs.values()))
    this.#converger.submit(records)
    this.#draining ??= this.#drain()
  }

  ready(): Promise<void> {
    return this.#ready.promise
  }

  async close(): Promise<void> {
    this.#closed.abort()
    await Promise.all([this.#converger.close(), this.#draining, this.#deps.table.close()])
  }

  async #converge(records: EgressRecords): Promise<void> {
    const { table, overlay, outbound } = this.#deps
    const { revision, hosts, pairs } = records
    const last = this.#last
    this.#last = undefined
    // Ways before marks that lead to them.
    if (!last || last === records || last.hosts !== hosts)
      await overlay.apply([...hosts.values()].map(({ index }) => index))
    const { owners, announced } = this.#pairs.of(pairs.values(), hosts)
    await table.steer(owners)
    // Whoever gets a released address counts on it that nobody here sends from it.
    await table.letGo()
    if (outbound) await this.#placeOutbound(records, outbound)
    this.#last = records
    this.#sink?.inForce({ revision, announced })
    this.#ready.resolve()
  }

  async #placeOutbound(
    { outbound, pairs }: EgressRecords,
    network: OutboundNetwork,
  ): Promise<void> {
    const { host, onOutbound } = this.#deps
    const sources = outbound.flatMap((proxy) => placeOn(host.id, proxy, (id) => pairs.get(id)))
    await network.apply(sources)
    const isWanted = sources.length > 0
    if (isWanted !== this.#isOutboundWanted) onOutbound?.(isWanted)
    this.#isOutboundWanted = isWanted
  }

  /** Tells of blocks without flows for as long as their records ask for it. */
  async #drain(): Promise<void> {
    const { table, clock, log } = this.#deps
    const { signal } = this.#closed
    while (!signal.aborted) {
      try {
        const blocks = this.#last
          ? this.#pairs.of(this.#last.pairs.values(), this.#last.hosts).draining
          : []
        const drained = blocks.length > 0 ? await table.drained(blocks) : []
        this.#sink?.drained(drained.map(({ pair, slot }) => ({ pair, slot })))
      } catch (error) {
        log.warn({ error: messageOf(error) }, 'egress: flows of blocks cannot be counted')
      }
      await clock.sleep(DRAIN_LOOK_MS, signal).catch(() => {})
    }
  }
}

const addressesOf = (pairs: Iterable<EgressPair>): string[] =>
  [...pairs].flatMap(({ v4, v6 }) => [v4 ?? [], v6 ?? []].flat())
