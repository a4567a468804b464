import type { ReleaseShare } from '../../model/resources.ts'

/** The release that a new request goes to; `random` is in [0, 1). */
export function drawRelease(shares: readonly ReleaseShare[], random: number): number {
  let total = 0
  for (const { weight } of shares) total += weight
  let left = random * total
  for (const { version, weight } of shares) {
    left -= weight
    if (left < 0) return version
  }
  return shares[shares.length - 1]!.version
}
