import { formatPrefix, parsePrefix } from '../base/ip.ts'
import type { Route } from '../kernel/ip.ts'
import { machinePool } from './machines.ts'

/** The host's own routes carry this protocol number, so that `ip route` can tell them apart. */
export const ROUTE_PROTOCOL = 146

export interface HostRoute {
  readonly type: 'unicast' | 'local' | 'unreachable'
  /** Canonical prefix. */
  readonly dst: string
  readonly device?: string
}

export function hostRoutes(host: {
  readonly index: number
  readonly meshDevice: string
  readonly publicPrefixes: readonly string[]
}): HostRoute[] {
  return [
    { type: 'unicast', dst: 'fdaa::/48', device: host.meshDevice },
    // A private address that is nowhere must not leave by the default route.
    { type: 'unreachable', dst: 'fdaa::/16' },
    { type: 'unreachable', dst: machinePool(host.index) },
    // Every address of the pools is the host's own, without being on an interface.
    ...host.publicPrefixes.map(
      (prefix): HostRoute => ({ type: 'local', dst: canonicalPrefix(prefix), device: 'lo' }),
    ),
  ]
}

/** Lines for `ip -batch`: what is missing first, then what is no longer wanted. */
export function planRoutes(desired: readonly HostRoute[], observed: readonly Route[]): string[] {
  const have = new Set(observed.map((r) => `${r.type} ${canonicalPrefix(r.dst)}`))
  const want = new Set(desired.map((r) => `${r.type} ${r.dst}`))
  return [
    ...desired
      .filter((r) => !have.has(`${r.type} ${r.dst}`))
      .map((r) => `route replace ${text(r)} proto ${ROUTE_PROTOCOL}`),
    ...observed
      .filter((r) => !want.has(`${r.type} ${canonicalPrefix(r.dst)}`))
      .map((r) => `route del ${r.type} ${canonicalPrefix(r.dst)} proto ${ROUTE_PROTOCOL}`),
  ]
}

const text = (r: HostRoute) => `${r.type} ${r.dst}${r.device ? ` dev ${r.device}` : ''}`

/** `ip` leaves the length out for a single address. */
function canonicalPrefix(prefix: string): string {
  const parsed = parsePrefix(prefix)
  return parsed ? formatPrefix(parsed) : prefix
}
