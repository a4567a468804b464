import { HANDLERS } from '../machine-config.ts'
import { extensionProblems, type ServiceExtension } from '../service-options.ts'
import { groupsOfSection } from './groups.ts'
import { type Path, shown } from './problem.ts'
import { checkGroups, type Report } from './report.ts'
import type { AppConfig, Concurrency, HttpService, Port, Service } from './schema.ts'
import { checkServiceCheck } from './validate-checks.ts'
import { checkHttpOptions, checkTlsOptions } from './validate-options.ts'

/** [http_service] and [[services]]: S7 to S30, with what flyctl leaves to the server. */
export function checkServices(config: AppConfig, report: Report): void {
  const http = config.http_service
  if (http) checkHttpService(config, http, report)
  for (const [i, service] of (config.services ?? []).entries()) {
    checkService(config, service, ['services', i], report)
  }
  checkDuplicates(config, report)
}

function checkHttpService(config: AppConfig, http: HttpService, report: Report): void {
  const path = ['http_service']
  checkCommon(config, http, path, report)
  checkExtension(http.fairway, { udp: false, http: true }, path, report)
  checkHttpOptions(http.http_options, [...path, 'http_options'], report)
  checkTlsOptions(http.tls_options, [...path, 'tls_options'], report)
  for (const [i, check] of (http.checks ?? []).entries()) {
    checkServiceCheck(check, [...path, 'checks', i], report)
  }
}

function checkService(config: AppConfig, service: Service, path: Path, report: Report): void {
  checkCommon(config, service, path, report)
  const { protocol } = service
  const isHttp = service.ports?.some(({ handlers }) => handlers?.includes('http')) ?? false
  checkExtension(service.fairway, { udp: protocol === 'udp', http: isHttp }, path, report)
  if (protocol !== undefined && protocol !== 'tcp' && protocol !== 'udp') {
    report.error([...path, 'protocol'], `${shown(protocol)} is not known`, 'Use "tcp" or "udp".')
  }
  if (!service.ports?.length) {
    const fix = 'Add a [[services.ports]] with port = 443 and handlers, or remove the service.'
    report.error([...path, 'ports'], 'is missing, so nothing would reach the service', fix)
  }
  for (const [i, port] of (service.ports ?? []).entries()) {
    checkPort(service, port, [...path, 'ports', i], report)
  }
  for (const key of ['tcp_checks', 'http_checks'] as const) {
    for (const [i, check] of (service[key] ?? []).entries()) {
      checkServiceCheck(check, [...path, key, i], report)
    }
  }
}

function checkExtension(
  extension: ServiceExtension | undefined,
  kind: Parameters<typeof extensionProblems>[1],
  path: Path,
  { error }: Report,
): void {
  if (!extension) return
  for (const problem of extensionProblems(extension, kind))
    error([...path, 'fairway', ...problem.path], problem.message, problem.fix)
}

/** What [http_service] and [[services]] share. */
function checkCommon(
  config: AppConfig,
  service: HttpService | Service,
  path: Path,
  report: Report,
): void {
  if (config.processes && !service.processes?.length) {
    const names = Object.keys(config.processes).map(shown).join(', ')
    const fix = `Add processes = [...] with one of ${names}.`
    report.error([...path, 'processes'], 'is missing while [processes] is given (S9)', fix)
  }
  checkGroups(config, [...path, 'processes'], service.processes, report)
  const port = service.internal_port
  if (port === undefined) {
    const fix = 'Add internal_port = 8080, the port on 0.0.0.0 that the app listens on.'
    report.error([...path, 'internal_port'], 'is missing', fix)
  } else checkRange(port, [...path, 'internal_port'], report)
  if ((service.min_machines_running ?? 0) < 0) {
    const message = `${service.min_machines_running} is negative`
    report.error([...path, 'min_machines_running'], message, 'Use 0 or more.')
  }
  checkConcurrency(service.concurrency, [...path, 'concurrency'], report)
}

function checkRange(port: number, path: Path, { error }: Report): boolean {
  if (port >= 1 && port <= 65_535) return true
  error(path, `${port} is not a port`, 'Use 1 to 65535.')
  return false
}

function checkConcurrency(limits: Concurrency | undefined, path: Path, { error }: Report): void {
  if (!limits) return
  const { type, soft_limit: soft, hard_limit: hard } = limits
  if (type !== undefined && type !== 'connections' && type !== 'requests') {
    const fix = 'Use "connections" or "requests".'
    error([...path, 'type'], `${shown(type)} is not known`, fix)
  }
  for (const key of ['soft_limit', 'hard_limit'] as const) {
    if ((limits[key] ?? 1) < 1)
      error([...path, key], `${limits[key]} is too small`, 'Use 1 or more.')
  }
  if (soft !== undefined && hard !== undefined && soft > hard) {
    const fix = 'Make soft_limit at most hard_limit.'
    error([...path, 'soft_limit'], `${soft} is above hard_limit ${hard}`, fix)
  }
}

function checkPort(service: Service, port: Port, path: Path, report: Report): void {
  checkPortNumbers(service, port, path, report)
  const handlers = port.handlers ?? []
  for (const i of handlers.keys()) {
    checkHandler(service, handlers, i, [...path, 'handlers', i], report)
  }
  if (port.force_https && !handlers.includes('http')) {
    const fix = 'Add "http" to handlers, or remove force_https (S10).'
    report.error([...path, 'force_https'], `needs the http handler, not ${shown(handlers)}`, fix)
  }
  checkHttpOptions(port.http_options, [...path, 'http_options'], report)
  checkTlsOptions(port.tls_options, [...path, 'tls_options'], report)
  checkOptionHandlers(port, handlers, path, report)
  const version = port.proxy_proto_options?.version
  if (version !== undefined && version !== 'v1' && version !== 'v2') {
    const at = [...path, 'proxy_proto_options', 'version']
    report.error(at, `${shown(version)} is not a version`, 'Use "v1" or "v2".')
  }
}

/** Options that the handlers of their port never read. */
const OPTION_HANDLERS = [
  ['http_options', 'http'],
  ['tls_options', 'tls'],
  ['proxy_proto_options', 'proxy_proto'],
] as const

function checkOptionHandlers(
  port: Port,
  handlers: readonly string[],
  path: Path,
  { warning }: Report,
): void {
  for (const [option, handler] of OPTION_HANDLERS) {
    if (port[option] === undefined || handlers.includes(handler)) continue
    if (option === 'tls_options' && handlers.includes('pg_tls')) continue
    const fix = `Add "${handler}" to handlers, or remove ${option}.`
    warning([...path, option], `has no effect without the ${handler} handler`, fix)
  }
}

function checkHandler(
  service: Service,
  handlers: readonly string[],
  index: number,
  path: Path,
  { error }: Report,
): void {
  const handler = handlers[index]!
  if (service.protocol === 'udp') {
    const fix = 'Remove handlers: UDP is passed on as it is (S16).'
    error(path, `${shown(handler)}: a UDP service has no handlers`, fix)
  } else if (!(HANDLERS as readonly string[]).includes(handler)) {
    const fix = `Use some of ${HANDLERS.map(shown).join(', ')}, or none for plain TCP.`
    error(path, `${shown(handler)} is not a handler`, fix)
  } else if (handlers.indexOf(handler) !== index) {
    error(path, `${shown(handler)} is given twice`, 'Remove one of the two.')
  }
}

function checkPortNumbers(service: Service, port: Port, path: Path, report: Report): void {
  const { port: single, start_port: start, end_port: end } = port
  for (const key of ['port', 'start_port', 'end_port'] as const) {
    if (port[key] !== undefined) checkRange(port[key], [...path, key], report)
  }
  const ranged = start !== undefined || end !== undefined
  if (single === undefined && !ranged) {
    const fix = 'Add port = 443, or start_port and end_port.'
    report.error([...path, 'port'], 'is missing', fix)
  } else if (single !== undefined && ranged) {
    const fix = 'Use port, or start_port and end_port.'
    report.error([...path, 'port'], 'is given beside a range', fix)
  } else if (ranged && (start === undefined || end === undefined)) {
    const missing = start === undefined ? 'start_port' : 'end_port'
    const value = start === undefined ? 1 : 65_535
    const message = `is missing and taken as ${value} (S15)`
    report.warning([...path, missing], message, `Add ${missing} = ${value} if that is meant.`)
  } else if (ranged && start! > end!) {
    const message = `${start} is above end_port ${end}`
    report.error([...path, 'start_port'], message, 'Exchange the two.')
  }
  if (service.protocol === 'udp' && single !== undefined && single !== service.internal_port) {
    const message = `${single} differs from internal_port ${service.internal_port}`
    const fix = 'UDP arrives at the port that it was sent to: let the app bind that one.'
    report.warning([...path, 'port'], message, fix)
  }
}

interface Claim {
  readonly path: Path
  readonly protocol: string
  readonly start: number
  readonly end: number
  readonly groups: readonly string[]
}

/** Two services of one group on one port cannot both have it; of two groups they would mix (S4). */
function checkDuplicates(config: AppConfig, { error, warning }: Report): void {
  const claims = claimsOf(config)
  for (const [i, claim] of claims.entries()) {
    const other = claims
      .slice(0, i)
      .find((c) => c.protocol === claim.protocol && c.start <= claim.end && claim.start <= c.end)
    if (!other) continue
    const port = Math.max(other.start, claim.start)
    const name = `${claim.protocol} port ${port}`
    const where = other.path[0] === 'http_service' ? '[http_service]' : `services[${other.path[1]}]`
    if (other.groups.some((group) => claim.groups.includes(group))) {
      const fix = 'Give each port to one service.'
      error(claim.path, `${name} is already taken by ${where}`, fix)
    } else {
      const fix = 'Give each process group its own external ports, unless mixing them is meant.'
      warning(claim.path, `${name} is also exposed by ${where}: traffic goes to both groups`, fix)
    }
  }
}

function claimsOf(config: AppConfig): Claim[] {
  const http = config.http_service
  const httpGroups = http ? groupsOfSection(config, http.processes) : []
  const standard = (http ? [80, 443] : []).map((port) => ({
    path: ['http_service'],
    protocol: 'tcp',
    start: port,
    end: port,
    groups: httpGroups,
  }))
  const others = (config.services ?? []).flatMap((service, i) =>
    (service.ports ?? []).map((port, j) => ({
      path: ['services', i, 'ports', j],
      protocol: service.protocol ?? 'tcp',
      start: port.port ?? port.start_port ?? 1,
      end: port.port ?? port.end_port ?? 65_535,
      groups: groupsOfSection(config, service.processes),
    })),
  )
  return [...standard, ...others]
}
