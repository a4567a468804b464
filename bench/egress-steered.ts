import { meshAddress } from '../src/model/wire.ts'
import { Flows } from '../test/egress-failover/flows.ts'
import { buildRegion } from '../test/egress-failover/region.ts'
import { median } from './process.ts'

/**
 * What it costs when the answers of a static source enter at another host of the region, which passes
 * them on inside the mesh: the round trip of one byte, by turns with answers that enter at the owner.
 * The way between the two hosts is taken off, half a round trip in the bare mesh. Run by egress.ts; the
 * last line is its result.
 */
export interface SteeredResult {
  readonly ownerUs: number
  readonly steeredUs: number
  /** A round trip between the two hosts in the mesh. */
  readonly meshUs: number
  /** What steering adds to the bare way. */
  readonly addedUs: number
}

const ROUNDS = 7
const TRIPS = 1_000

const region = await buildRegion()
try {
  const { b, far } = region
  const host = await Flows.near('host-a')
  const mesh = async () => median(await host.ask<number[]>('pings', meshAddress(2), TRIPS)) / 1e3
  const trip = async (enter: 'host-a' | 'host-b') => {
    await region.enterAt(enter)
    return median(await b.ask<number[]>('rtt', far.v4, TRIPS)) / 1e3
  }
  const rounds: SteeredResult[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const [ownerUs, steeredUs, meshUs] = [await trip('host-b'), await trip('host-a'), await mesh()]
    rounds.push({ ownerUs, steeredUs, meshUs, addedUs: steeredUs - ownerUs - meshUs / 2 })
  }
  const of = (key: keyof SteeredResult) => median(rounds.map((round) => round[key]))
  const result: SteeredResult = {
    ownerUs: of('ownerUs'),
    steeredUs: of('steeredUs'),
    meshUs: of('meshUs'),
    addedUs: of('addedUs'),
  }
  console.log(JSON.stringify(result))
} finally {
  region.close()
}
