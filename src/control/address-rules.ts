import type { Endpoint, EndpointService } from '../model/resources.ts'

/**
 * I8: which IPv4 address the services of an app can live with. A shared address finds the app by
 * name, so it serves HTTP on port 80 and TLS with HTTP on port 443; all else needs its own address.
 */

export type SharedVerdict =
  | { readonly qualifies: true }
  /** `reason` completes "the app does not qualify for a shared IPv4: ...". */
  | { readonly qualifies: false; readonly reason: string }

export function sharedVerdict(endpoints: Iterable<Endpoint>): SharedVerdict {
  let isPublic = false
  for (const endpoint of endpoints) {
    for (const service of endpoint.services) {
      const reason = dedicatedReason(service)
      if (reason !== undefined) return { qualifies: false, reason }
      if (service.ports.length > 0) isPublic = true
    }
  }
  if (isPublic) return { qualifies: true }
  return { qualifies: false, reason: 'it has no public service yet' }
}

/** Why a service needs a dedicated IPv4; undefined when a shared one does. */
export function dedicatedReason(service: EndpointService): string | undefined {
  if (service.ports.length === 0) return undefined
  if (service.protocol === 'udp') return `port ${service.ports[0]!.start} is UDP`
  for (const { start, end, handlers } of service.ports) {
    if (start !== end) return `ports ${start} to ${end} are exposed`
    if (start !== 80 && start !== 443) return `TCP port ${start} is neither 80 nor 443`
    const has = [...new Set(handlers)].sort().join(', ')
    const needs = start === 80 ? 'http' : 'http, tls'
    if (has !== needs) return `port ${start} has the handlers [${has}] instead of [${needs}]`
  }
  return undefined
}
