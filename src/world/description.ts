import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import { parsePrefix } from '../base/ip.ts'
import { NOT_OBSERVED, ObserveConfig } from '../model/observe-config.ts'

const prefix = z
  .string()
  .refine((text) => parsePrefix(text) !== undefined, 'not a prefix such as 203.0.113.0/24')
const name = z.string().regex(/^[a-z][a-z0-9]{1,9}$/, 'two to ten lower-case letters and digits')

/** A small internet as data: regions, hosts, distances, pools. Tests bring their own. */
export const WorldDescription = z.object({
  regions: z
    .array(
      z.object({
        code: name,
        name: z.string(),
        latitude: z.number(),
        longitude: z.number(),
        geoRegion: z.string(),
        hosts: z.number().int().min(0).max(8),
      }),
    )
    .min(1)
    .max(9),
  /** Round trips in milliseconds, `from-to`; BGP and "nearest" honour them. Symmetric. */
  distancesMs: z.record(z.string(), z.number().min(1).max(500)),
  /** The first is the apps-domain of the small internet; further ones are aliases. */
  appsDomains: z.array(z.string()).min(1),
  pools: z.object({ v4: z.array(prefix), sharedV4: z.array(z.string()), v6: z.array(prefix) }),
  /** What hosts announce by BGP: must cover the pools. */
  announce: z.array(prefix).min(1),
  /** Static sources by region; `global` is the outbound proxies', announced by every host. */
  egressPools: z.record(z.string(), z.object({ v4: z.array(prefix), v6: z.array(prefix) })),
  /** Where hosts' outbound proxies answer: within the announced prefixes, outside of the pools. */
  outbound: z.object({ v4: z.string(), v6: z.string() }).nullable(),
  quarantineMs: z.number().int().min(0),
  prices: z.record(z.string(), z.union([z.string(), z.number()])),
  /** Access log and traces of every edge; both off in the default world. */
  observe: ObserveConfig,
  /** Loopback ports of the machine that lead into the world; 0 picks a free one. */
  relay: z.object({ appsPort: z.number().int().min(0), apiPort: z.number().int().min(0) }),
})
export type WorldDescription = z.infer<typeof WorldDescription>

export const DEFAULT_WORLD: WorldDescription = {
  regions: [
    {
      code: 'iad',
      name: 'Ashburn, Virginia (US)',
      latitude: 39.02,
      longitude: -77.46,
      geoRegion: 'north_america',
      hosts: 2,
    },
    {
      code: 'lhr',
      name: 'London, United Kingdom',
      latitude: 51.47,
      longitude: -0.46,
      geoRegion: 'europe',
      hosts: 1,
    },
    {
      code: 'nrt',
      name: 'Tokyo, Japan',
      latitude: 35.76,
      longitude: 140.39,
      geoRegion: 'asia_pacific',
      hosts: 1,
    },
  ],
  distancesMs: { 'iad-lhr': 76, 'iad-nrt': 160, 'lhr-nrt': 220 },
  appsDomains: ['fairway.test', 'localhost'],
  pools: { v4: ['203.0.113.64/26'], sharedV4: ['203.0.113.1'], v6: ['2001:db8:1::/48'] },
  announce: ['203.0.113.0/24', '2001:db8:1::/48'],
  egressPools: {
    iad: { v4: ['198.51.100.0/26'], v6: ['2001:db8:e001::/48'] },
    lhr: { v4: ['198.51.100.64/26'], v6: ['2001:db8:e002::/48'] },
    nrt: { v4: ['198.51.100.128/26'], v6: ['2001:db8:e003::/48'] },
    global: { v4: ['198.51.100.192/26'], v6: ['2001:db8:e000::/48'] },
  },
  outbound: { v4: '203.0.113.2', v6: '2001:db8:1::2' },
  quarantineMs: 60_000,
  prices: { currency: 'USD', v4PerMonth: '2.00', egressV4PerMonth: '3.60' },
  observe: NOT_OBSERVED,
  relay: { appsPort: 8080, apiPort: 4280 },
}

/** Reads a description from a JSON file; keys that it leaves out come from the default world. */
export function readDescription(path: string): WorldDescription {
  try {
    return parseDescription(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    throw new FairwayError('bad_world', `world description ${path}: ${messageOf(error)}`)
  }
}

export function parseDescription(input: object): WorldDescription {
  const parsed = WorldDescription.safeParse({ ...DEFAULT_WORLD, ...input })
  if (parsed.success) return 'egressPools' in input ? parsed.data : narrowed(parsed.data)
  const issue = parsed.error.issues[0]!
  throw new FairwayError('bad_world', `${issue.path.join('.') || 'world'}: ${issue.message}`)
}

/** A world with regions of its own has the default egress pools of those that it shares. */
function narrowed(world: WorldDescription): WorldDescription {
  const codes = new Set([...world.regions.map((region) => region.code), 'global'])
  const pools = Object.entries(world.egressPools).filter(([code]) => codes.has(code))
  return { ...world, egressPools: Object.fromEntries(pools) }
}

/** The egress prefixes that the hosts of a region announce beside the pools. */
export function egressPrefixes(world: WorldDescription, region: string): string[] {
  const pools = [world.egressPools[region], world.egressPools.global]
  return pools.flatMap((pool) => (pool ? [...pool.v4, ...pool.v6] : []))
}

/** The distance between two regions in milliseconds; 0 within one. */
export function distanceMs(world: WorldDescription, from: string, to: string): number {
  if (from === to) return 0
  return world.distancesMs[`${from}-${to}`] ?? world.distancesMs[`${to}-${from}`] ?? 100
}
