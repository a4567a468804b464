import type { Service } from '../machine-config.ts'
import { groupsOf } from './groups.ts'
import { servicesOf } from './machine-config.ts'
import type { AppConfig } from './schema.ts'

/** Which addresses the first deploy of an app wants (I7, I8). */
export type IpPlan =
  | { readonly kind: 'none' }
  | { readonly kind: 'shared' }
  /** `v6` is false when a service is UDP. `reason` says which port asks for an own IPv4. */
  | { readonly kind: 'dedicated'; readonly v6: boolean; readonly reason: string }

/** Which handlers a shared IPv4 can route by name. */
const SHARED_HANDLERS: Record<number, string> = { 80: 'http', 443: 'http,tls' }

export const ipPlan = (config: AppConfig): IpPlan =>
  ipPlanOf(groupsOf(config).flatMap((group) => servicesOf(config, group)))

/** The same for services of machines that exist. */
export function ipPlanOf(services: readonly Service[]): IpPlan {
  if (services.length === 0) return { kind: 'none' }
  const udp = services.find((s) => s.protocol === 'udp')
  if (udp) {
    const reason = `the UDP service on internal port ${udp.internal_port}`
    return { kind: 'dedicated', v6: false, reason }
  }
  for (const port of services.flatMap((s) => s.ports ?? [])) {
    const handlers = [...(port.handlers ?? [])].sort().join()
    const single = port.port ?? (port.start_port === port.end_port ? port.start_port : undefined)
    if (single !== undefined && SHARED_HANDLERS[single] === handlers) continue
    const name = single ?? `${port.start_port}-${port.end_port}`
    const how = handlers ? `handlers ${handlers}` : 'no handlers'
    return { kind: 'dedicated', v6: true, reason: `port ${name} with ${how}` }
  }
  return { kind: 'shared' }
}
