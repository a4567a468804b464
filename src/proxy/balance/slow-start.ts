import type { Candidate, PortRoute } from '../../view/edge-view.ts'
import { SLOW_START_MS, SLOW_START_WEIGHT_MIN } from '../limits.ts'

/**
 * A machine that has just begun to serve has cold caches and connections to make: among machines that
 * are equal otherwise its share rises from a tenth to the whole of one over the slow start.
 */
export const isRamping = (route: PortRoute, nowMs: number): boolean =>
  route.upSinceMsMax > 0 && route.upSinceMsMax + slowStartMsOf(route) > nowMs

export const slowStartMsOf = (route: PortRoute): number =>
  route.options?.slowStartMs ?? SLOW_START_MS

/** Its share beside 1 for one that has served for longer. */
export function rampWeight(
  { endpoint, service }: Candidate,
  slowStartMs: number,
  nowMs: number,
): number {
  const { upSinceMs } = endpoint.services[service]!
  if (upSinceMs === null) return 1
  const upMs = nowMs - upSinceMs
  // The control plane's clock wrote it: a future further off than that says that clocks differ.
  if (upMs >= slowStartMs || upMs < -slowStartMs) return 1
  return Math.max(SLOW_START_WEIGHT_MIN, upMs / slowStartMs)
}
