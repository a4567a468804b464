import { distanceMs, type WorldDescription } from './description.ts'

/** Distances from one region to every other, by code. */
export const distancesOf = (world: WorldDescription, code: string): Record<string, number> =>
  Object.fromEntries(
    world.regions
      .filter((r) => r.code !== code)
      .map((r) => [r.code, distanceMs(world, code, r.code)]),
  )
