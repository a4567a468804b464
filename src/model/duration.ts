/** Go's durations, as far as a config may have them: no sign. */
export const DURATION = /^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$|^0$/

/** Milliseconds, or undefined when the text is no duration. */
export const parseDuration = (text: string): number | undefined =>
  DURATION.test(text) ? durationMs(text, 0) : undefined

const UNIT_MS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3600e3,
}

/** A duration of the Machines API in milliseconds; `fallbackMs` when it is absent. */
export function durationMs(value: string | number | null | undefined, fallbackMs: number): number {
  if (value === undefined || value === null) return fallbackMs
  if (typeof value === 'number') return value / 1e6
  let total = 0
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * UNIT_MS[unit!]!
  }
  return total
}
