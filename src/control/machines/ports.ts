import type { Port, Service } from '../../model/machine-config.ts'
import type { EndpointService } from '../../model/resources.ts'
import { serviceOptions } from '../../model/service-options.ts'
import type { ConfigProblem } from './config.ts'

/** External ports of services: their rules, and their form in the routing projection. */

export const PORTS_PER_SERVICE_MAX = 64
/** S29: docs' default; there is no default hard limit (S30). */
const SOFT_LIMIT_DEFAULT = 20

interface PortRange {
  readonly start: number
  readonly end: number
}

/** Inclusive; a range that names one end only is open at the other (S15). */
export const portRange = (port: Port): PortRange =>
  port.port === undefined
    ? { start: port.start_port ?? 1, end: port.end_port ?? 65_535 }
    : { start: port.port, end: port.port }

/** Services as edges see them, before any report: healthy only when nothing checks them (S36). */
export function endpointServices(
  services: readonly Service[] | null | undefined,
): EndpointService[] {
  return (services ?? []).map((service) => {
    const hard = service.concurrency?.hard_limit ?? null
    const soft = service.concurrency?.soft_limit
    return {
      protocol: service.protocol,
      internalPort: service.internal_port,
      ports: (service.ports ?? []).map(endpointPort),
      concurrency: {
        type: service.concurrency?.type ?? 'connections',
        soft: soft ?? Math.min(SOFT_LIMIT_DEFAULT, hard ?? SOFT_LIMIT_DEFAULT),
        hard,
      },
      autostart: service.autostart ?? false,
      load: 0,
      healthy: (service.checks ?? []).length === 0,
      upSinceMs: null,
      options: serviceOptions(service.fairway),
    }
  })
}

function endpointPort(port: Port): EndpointService['ports'][number] {
  return {
    ...portRange(port),
    handlers: [...new Set(port.handlers ?? [])],
    forceHttps: port.force_https ?? false,
    httpOptions: port.http_options ?? null,
    tlsOptions: port.tls_options ?? null,
    proxyProtoVersion: port.proxy_proto_options?.version === 'v2' ? 'v2' : 'v1',
  }
}

/** S3, S10, S14 to S16 and U3, over all services of a config. */
export function portProblems(services: readonly Service[]): ConfigProblem[] {
  const taken: { field: string; protocol: string; range: PortRange }[] = []
  const problems: ConfigProblem[] = []
  services.forEach((service, i) => {
    const ports = service.ports ?? []
    const at = `services[${i}].ports`
    if (ports.length === 0)
      problems.push({ field: at, message: 'is empty; a service needs at least one port' })
    if (ports.length > PORTS_PER_SERVICE_MAX)
      problems.push({ field: at, message: `has ${ports.length}; at most ${PORTS_PER_SERVICE_MAX}` })
    ports.forEach((port, j) => {
      const field = `${at}[${j}]`
      problems.push(...portProblem(port, field), ...udpProblem(service, port, field))
      const range = portRange(port)
      const other = taken.find(
        (t) =>
          t.protocol === service.protocol &&
          t.range.start <= range.end &&
          range.start <= t.range.end,
      )
      if (other) {
        const what = `${service.protocol} port ${text(range)} overlaps ${other.field}`
        problems.push({ field, message: `${what}; expose every port once` })
      } else taken.push({ field, protocol: service.protocol, range })
    })
  })
  return problems
}

function portProblem(port: Port, field: string): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  const ranged = port.start_port !== undefined || port.end_port !== undefined
  if (port.port === undefined && !ranged)
    problems.push({ field, message: 'names no port; set port, or start_port and end_port' })
  if (port.port !== undefined && ranged)
    problems.push({ field, message: 'has both port and a range; keep one of them' })
  const { start, end } = portRange(port)
  if (start > end) {
    const message = `start_port ${start} is above end_port ${end}; exchange them`
    problems.push({ field, message })
  }
  if (port.force_https && !port.handlers?.includes('http')) {
    const message = `is set on a port whose handlers are [${port.handlers ?? ''}]; it needs "http"`
    problems.push({ field: `${field}.force_https`, message })
  }
  const version = port.proxy_proto_options?.version
  if (version !== undefined && !['', 'v1', 'v2'].includes(version)) {
    const message = `is "${version}"; use "v1" or "v2"`
    problems.push({ field: `${field}.proxy_proto_options.version`, message })
  }
  return problems
}

/** U3: the port is not rewritten on its way, so the app must bind the port that clients use. */
function udpProblem(service: Service, port: Port, field: string): ConfigProblem[] {
  if (service.protocol !== 'udp') return []
  const problems: ConfigProblem[] = []
  if (port.handlers && port.handlers.length > 0) {
    const message = `is [${port.handlers}] on a udp service; UDP has no handlers, remove them`
    problems.push({ field: `${field}.handlers`, message })
  }
  const range = portRange(port)
  if (service.internal_port < range.start || service.internal_port > range.end) {
    const message = `is ${text(range)} but internal_port is ${service.internal_port}; for udp they must be equal`
    problems.push({ field, message })
  }
  return problems
}

const text = ({ start, end }: PortRange): string => (start === end ? `${start}` : `${start}-${end}`)
