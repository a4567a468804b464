import { z } from 'zod'
import { SLOTS_PER_HOST } from '../control/fleet.ts'
import { ADDRESS_KINDS, allPrices, egressPrices } from '../control/prices.ts'
import { Region } from '../model/resources.ts'
import type { ApiContext } from './context.ts'
import type { Api } from './routes.ts'

/** Regions, where machines would go, and what addresses cost (flyctl-api 4.5). */

const PLACED_MAX = 1_000
const placementsBody = z.looseObject({
  region: z.string().nullish(),
  count: z.number().int().min(0).max(PLACED_MAX).nullish(),
})

const RegionObject = z
  .object({
    code: z.string(),
    name: z.string(),
    latitude: z.number(),
    longitude: z.number(),
    gateway_available: z.boolean(),
    requires_paid_plan: z.boolean(),
    deprecated: z.boolean(),
    capacity: z.int(),
    geo_region: Region.shape.geoRegion,
    mpg_available: z.boolean(),
  })
  .meta({ id: 'Region' })
const Price = z
  .object({
    kind: z.enum([...ADDRESS_KINDS, 'egress_v4', 'egress_v6']),
    /** Decimal text. */
    perMonth: z.string(),
    currency: z.string(),
  })
  .meta({ id: 'Price' })

const tag = 'Platform'
const REGIONS = {
  tag,
  summary: 'Regions, and the one where a machine goes that names none',
  response: { 200: z.object({ Regions: z.array(RegionObject), Nearest: z.string() }) },
} as const
const PLACEMENTS = {
  tag,
  summary: 'Where so many machines would go',
  body: placementsBody,
  response: {
    200: z.object({
      Regions: z.array(z.object({ Region: z.string(), Count: z.int(), Concurrency: z.int() })),
    }),
  },
} as const
const PRICES = {
  tag,
  summary: 'What addresses cost',
  response: { 200: z.object({ prices: z.array(Price) }) },
} as const

export function registerPlatform(api: Api, context: ApiContext): void {
  const { fleet, config } = context

  api.get('/v1/platform/regions', { schema: REGIONS }, async () => {
    const live = new Set(fleet.liveRegions())
    const known = new Set(fleet.regions().map((region) => region.code))
    // In the operator's order; the first with a live host is where a machine goes that names none.
    const regions = config.regions.filter((region) => known.has(region.code))
    return {
      Regions: regions.map((region) => ({
        code: region.code,
        name: region.name,
        latitude: region.latitude,
        longitude: region.longitude,
        gateway_available: false,
        requires_paid_plan: false,
        deprecated: false,
        capacity: capacityOf(context, region.code),
        geo_region: region.geoRegion,
        mpg_available: false,
      })),
      Nearest: regions.find((region) => live.has(region.code))?.code ?? regions[0]?.code ?? '',
    }
  })

  api.post('/v1/platform/placements', { schema: PLACEMENTS }, async ({ body }) => {
    const wanted = (body.region ?? '').split(',').filter((code) => code !== '' && code !== 'any')
    const live = fleet.liveRegions()
    const regions = wanted.length > 0 ? wanted.filter((code) => live.includes(code)) : live
    const count = body.count ?? 1
    return {
      Regions: regions
        .map((Region, i) => ({
          Region,
          Count: Math.floor(count / regions.length) + (i < count % regions.length ? 1 : 0),
          Concurrency: 1,
        }))
        .filter((placed) => placed.Count > 0),
    }
  })

  api.get('/api/v1/prices', { schema: PRICES }, async () => ({
    prices: [...allPrices(context), ...egressPrices(context)],
  }))
}

const capacityOf = ({ fleet }: ApiContext, region: string): number =>
  fleet
    .liveHosts()
    .filter((id) => fleet.host(id)?.region === region)
    .reduce((free, id) => free + SLOTS_PER_HOST - fleet.machinesOn(id), 0)
