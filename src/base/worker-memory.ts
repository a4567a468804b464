/**
 * Limits of threads that carry traffic, whose requests' strings and small reads die young. Less room
 * makes collections more frequent, more makes them slower.
 */
export const TRAFFIC_MEMORY = { maxYoungGenerationSizeMb: 32 }
