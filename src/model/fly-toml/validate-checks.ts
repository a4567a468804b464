import { parseDuration } from '../duration.ts'
import { type Path, shown } from './problem.ts'
import { checkGroups, type Report } from './report.ts'
import type { AppConfig, ServiceCheck, TopCheck } from './schema.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
const TIMES = ['interval', 'timeout', 'grace_period'] as const

/** The checks of services: too short and too long times are moved to the limits, with a warning (S34). */
export function checkServiceCheck(check: ServiceCheck, path: Path, report: Report): void {
  checkProbe(check, path, report)
  for (const key of TIMES) {
    const ms = durationOf(check, key, path, report)
    if (ms === undefined) continue
    const low = key === 'grace_period' ? ms > 0 && ms < SECOND_MS : ms < SECOND_MS
    if (low) {
      report.warning([...path, key], `${shown(check[key])} is raised to 1s`, 'Use 1s or more.')
    } else if (ms > MINUTE_MS) {
      report.warning([...path, key], `${shown(check[key])} is lowered to 1m`, 'Use 1m or less.')
    }
  }
}

/** [checks.NAME]: S37. */
export function checkChecks(config: AppConfig, report: Report): void {
  for (const [name, check] of Object.entries(config.checks ?? {})) {
    const path = ['checks', name]
    checkGroups(config, [...path, 'processes'], check.processes, report)
    checkTypeAndPort(config, check, path, report)
    checkProbe(check, path, report)
    const interval = durationOf(check, 'interval', path, report)
    if (interval !== undefined && interval < 2 * SECOND_MS) {
      const message = `${shown(check.interval)} is too short`
      report.error([...path, 'interval'], message, 'Use 2s or more.')
    }
    const timeout = durationOf(check, 'timeout', path, report)
    if (timeout !== undefined && timeout > MINUTE_MS) {
      report.error([...path, 'timeout'], `${shown(check.timeout)} is too long`, 'Use 60s or less.')
    }
    durationOf(check, 'grace_period', path, report)
  }
}

function checkTypeAndPort(config: AppConfig, check: TopCheck, path: Path, report: Report): void {
  if (check.type === undefined) {
    report.error([...path, 'type'], 'is missing', 'Add type = "http" or type = "tcp".')
  } else if (check.type !== 'http' && check.type !== 'tcp') {
    report.error([...path, 'type'], `${shown(check.type)} is not a type`, 'Use "http" or "tcp".')
  }
  if (check.port === undefined && config.http_service?.internal_port === undefined) {
    const fix = 'Add port = 8080 (the port inside the machine), or an [http_service].'
    report.error([...path, 'port'], 'is missing', fix)
  } else if (check.port !== undefined && (check.port < 1 || check.port > 65_535)) {
    report.error([...path, 'port'], `${check.port} is out of range`, 'Use 1 to 65535.')
  }
}

function checkProbe(check: ServiceCheck, path: Path, { error }: Report): void {
  if (check.path !== undefined && !/^\/[^\s]*$/.test(check.path)) {
    const fix = 'Begin it with /, without spaces, such as "/health".'
    error([...path, 'path'], `${shown(check.path)} is not a path`, fix)
  }
  if (check.method !== undefined && !/^[A-Za-z]+$/.test(check.method)) {
    const message = `${shown(check.method)} is not a method`
    error([...path, 'method'], message, 'Use "GET" or another method of HTTP.')
  }
  if (check.protocol !== undefined && check.protocol !== 'http' && check.protocol !== 'https') {
    const message = `${shown(check.protocol)} is not a protocol of a check`
    error([...path, 'protocol'], message, 'Use "http" or "https".')
  }
}

function durationOf(
  check: ServiceCheck,
  key: (typeof TIMES)[number],
  path: Path,
  { error }: Report,
): number | undefined {
  const text = check[key]
  if (text === undefined) return undefined
  const ms = parseDuration(text)
  if (ms === undefined) {
    const fix = 'Use a duration such as "15s", or a number of milliseconds.'
    error([...path, key], `${shown(text)} is not a duration`, fix)
  }
  return ms
}
