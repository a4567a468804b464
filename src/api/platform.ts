import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { SLOTS_PER_HOST } from '../control/fleet.ts'
import { allPrices, egressPrices } from '../control/prices.ts'
import type { ApiContext } from './context.ts'
import { parseInput } from './input.ts'

/** Regions, where machines would go, and what addresses cost (flyctl-api 4.5). */

const PLACED_MAX = 1_000
const placementsBody = z.looseObject({
  region: z.string().nullish(),
  count: z.number().int().min(0).max(PLACED_MAX).nullish(),
})

export function registerPlatform(app: FastifyInstance, context: ApiContext): void {
  const { fleet, config } = context

  app.get('/v1/platform/regions', async () => {
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

  app.post('/v1/platform/placements', async (request) => {
    const body = parseInput(placementsBody, request.body, 'body')
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

  app.get('/api/v1/prices', async () => ({
    prices: [...allPrices(context), ...egressPrices(context)],
  }))
}

const capacityOf = ({ fleet }: ApiContext, region: string): number =>
  fleet
    .liveHosts()
    .filter((id) => fleet.host(id)?.region === region)
    .reduce((free, id) => free + SLOTS_PER_HOST - fleet.machinesOn(id), 0)
