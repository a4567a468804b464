import { constants } from 'node:os'
import type { z } from 'zod'
import { FairwayError } from '../../base/errors.ts'
import { durationMs } from '../../model/duration.ts'
import { CHECKS_MAX, type Check, MachineConfig, type Service } from '../../model/machine-config.ts'
import { extensionProblems } from '../../model/service-options.ts'
import { portProblems } from './ports.ts'
import { isTestMachine, TEST_ENV } from './test-target.ts'

/** A rule that a config breaks: what stands where, why it is wrong and what to write instead. */
export interface ConfigProblem {
  readonly field: string
  readonly message: string
}

export const SERVICES_MAX = 32
export const ENV_MAX = 512
export const METADATA_MAX = 128
export const METADATA_VALUE_BYTES_MAX = 4_096
/** As JSON. A config travels to its host and stands in the store: well under VALUE_BYTES_MAX. */
export const CONFIG_BYTES_MAX = 128 * 1024
export const STOP_TIMEOUT_MAX_MS = 300_000
const CHECK_INTERVAL_MIN_MS = 2_000
const CHECK_TIMEOUT_MAX_MS = 60_000
/** N18 keeps the prefix for the platform; clients themselves send this one. */
const ENV_ALLOWED: ReadonlySet<string> = new Set(['FLY_PROCESS_GROUP'])
/** Kept out rather than ignored: a machine without its volume is not what was asked for. */
const UNSUPPORTED = ['mounts', 'volumes', 'containers', 'files', 'schedule', 'statics'] as const

/** A config as a client sent it, checked; the error names every field that is wrong. */
export function parseMachineConfig(input: unknown): MachineConfig {
  const parsed = MachineConfig.safeParse(input)
  const problems = parsed.success
    ? configProblems(parsed.data)
    : parsed.error.issues.flatMap((issue) => zodProblem(issue, input))
  if (problems.length === 0 && parsed.success) return parsed.data
  throw new FairwayError('invalid_config', problems.map(describe).join('; '), { status: 422 })
}

/** What flyctl leaves to the server (flyctl-api 7.3). */
export function configProblems(config: MachineConfig): ConfigProblem[] {
  return [
    ...sizeProblems(config),
    ...UNSUPPORTED.flatMap((key) => unsupported(config, key)),
    ...envProblems(config),
    ...metadataProblems(config.metadata ?? {}),
    ...commandProblems(config.init),
    ...portProblems(config.services ?? []),
    ...(config.services ?? []).flatMap(serviceProblems),
    ...Object.entries(config.checks ?? {}).flatMap(([name, check]) => topCheck(name, check)),
    ...stopProblems(config.stop_config),
  ]
}

/** `SIGTERM`, `9` or `"9"` as a signal's name; undefined when there is no such signal. */
export function signalName(signal: string | number): string | undefined {
  const wanted = /^\d+$/.test(String(signal)) ? Number(signal) : String(signal).toUpperCase()
  const found = Object.entries(constants.signals).find(
    ([name, n]) => wanted === name || wanted === n,
  )
  return found?.[0]
}

const describe = ({ field, message }: ConfigProblem): string => `config.${field}: ${message}`

function zodProblem(issue: z.core.$ZodIssue, input: unknown): ConfigProblem[] {
  const path = issue.path.map((part) =>
    typeof part === 'number' ? `[${part}]` : `.${String(part)}`,
  )
  const field = path.join('').replace(/^\./, '') || '(root)'
  const value = issue.path.reduce<unknown>(
    (at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part],
    input,
  )
  const shown = value === undefined ? 'is missing' : `is ${JSON.stringify(value)?.slice(0, 80)}`
  return [{ field, message: `${shown}: ${issue.message}` }]
}

function sizeProblems(config: MachineConfig): ConfigProblem[] {
  const bytes = Buffer.byteLength(JSON.stringify(config))
  const counts = [
    ['services', config.services?.length ?? 0, SERVICES_MAX],
    ['env', Object.keys(config.env ?? {}).length, ENV_MAX],
    ['metadata', Object.keys(config.metadata ?? {}).length, METADATA_MAX],
  ] as const
  return [
    ...(bytes > CONFIG_BYTES_MAX
      ? [{ field: '(root)', message: `is ${bytes} bytes of JSON; at most ${CONFIG_BYTES_MAX}` }]
      : []),
    ...counts
      .filter(([, count, max]) => count > max)
      .map(([field, count, max]) => ({ field, message: `has ${count} entries; at most ${max}` })),
    ...checkCountProblems(config),
  ]
}

/** A host would not run more, and a service would be healthy without those beyond. */
function checkCountProblems({ services, checks }: MachineConfig): ConfigProblem[] {
  const lists = (services ?? []).map((service) => service.checks?.length ?? 0)
  const count = lists.reduce((sum, length) => sum + length, Object.keys(checks ?? {}).length)
  if (count <= CHECKS_MAX) return []
  const message = `the machine and its services have ${count} in all; at most ${CHECKS_MAX}`
  return [{ field: 'checks', message }]
}

function unsupported(config: MachineConfig, key: string): ConfigProblem[] {
  const value = config[key]
  const empty =
    value === undefined || value === null || value === '' || (Array.isArray(value) && !value.length)
  return empty ? [] : [{ field: key, message: 'is not supported yet; remove it' }]
}

function envProblems(config: MachineConfig): ConfigProblem[] {
  const { env = {} } = config
  const isAllowed = (name: string) =>
    ENV_ALLOWED.has(name) || (TEST_ENV.has(name) && isTestMachine(config))
  return Object.keys(env).flatMap((name) => {
    const field = `env.${name}`
    if (name === '' || /[=\0]/.test(name))
      return [{ field, message: 'is no name of a variable; use letters, digits and _' }]
    if (env[name]?.includes('\0')) return [{ field, message: 'holds a NUL byte; remove it' }]
    if (name.startsWith('FLY_') && !isAllowed(name))
      return [{ field, message: "names beginning FLY_ are the platform's own; rename it" }]
    return []
  })
}

export function metadataProblems(metadata: Readonly<Record<string, string>>): ConfigProblem[] {
  return Object.entries(metadata).flatMap(([key, value]) => {
    const field = `metadata.${key}`
    if (!/^[\w.:/-]{1,128}$/.test(key))
      return [{ field, message: 'a key has 1 to 128 letters, digits or any of _ . : / -' }]
    // Some of it becomes variables of the machine.
    if (value.includes('\0')) return [{ field, message: 'holds a NUL byte; remove it' }]
    if (Buffer.byteLength(value) > METADATA_VALUE_BYTES_MAX)
      return [{ field, message: `the value is longer than ${METADATA_VALUE_BYTES_MAX} bytes` }]
    return []
  })
}

function commandProblems(init: MachineConfig['init']): ConfigProblem[] {
  return (['exec', 'entrypoint', 'cmd'] as const).flatMap((key) =>
    init?.[key]?.some((word) => word.includes('\0'))
      ? [{ field: `init.${key}`, message: 'holds a NUL byte; remove it' }]
      : [],
  )
}

function serviceProblems(service: Service, index: number): ConfigProblem[] {
  const at = `services[${index}]`
  const problems: ConfigProblem[] = []
  const { soft_limit: soft, hard_limit: hard } = service.concurrency ?? {}
  if (soft !== undefined && hard !== undefined && soft > hard) {
    const message = `${soft} is above hard_limit ${hard}; a soft limit is reached first`
    problems.push({ field: `${at}.concurrency.soft_limit`, message })
  }
  problems.push(...extensionProblem(service, at))
  const checks = service.checks ?? []
  checks.forEach((check, i) => {
    if (check.type !== undefined) return
    problems.push({ field: `${at}.checks[${i}].type`, message: 'is missing; use "tcp" or "http"' })
  })
  return problems
}

function extensionProblem({ fairway, protocol, ports }: Service, at: string): ConfigProblem[] {
  if (!fairway) return []
  const http = ports?.some(({ handlers }) => handlers?.includes('http')) ?? false
  return extensionProblems(fairway, { udp: protocol === 'udp', http }).map((problem) => ({
    field: [at, 'fairway', ...problem.path].join('.'),
    message: `${problem.message}. ${problem.fix}`,
  }))
}

/** S37: top-level checks have no service to take their port from. */
function topCheck(name: string, check: Check): ConfigProblem[] {
  const at = `checks.${name}`
  const problems: ConfigProblem[] = []
  if (check.type === undefined)
    problems.push({ field: `${at}.type`, message: 'is missing; use "tcp" or "http"' })
  if (check.port === undefined)
    problems.push({ field: `${at}.port`, message: 'is missing; name the port to check' })
  const intervalMs = durationMs(check.interval, CHECK_INTERVAL_MIN_MS)
  if (intervalMs < CHECK_INTERVAL_MIN_MS)
    problems.push({ field: `${at}.interval`, message: `is ${check.interval}; at least 2s` })
  if (durationMs(check.timeout, 0) > CHECK_TIMEOUT_MAX_MS)
    problems.push({ field: `${at}.timeout`, message: `is ${check.timeout}; at most 1m` })
  return problems
}

function stopProblems(stop: MachineConfig['stop_config']): ConfigProblem[] {
  const problems: ConfigProblem[] = []
  if (stop?.signal && signalName(stop.signal) === undefined) {
    const message = `"${stop.signal}" is no signal; use a name such as SIGINT`
    problems.push({ field: 'stop_config.signal', message })
  }
  if (durationMs(stop?.timeout, 0) > STOP_TIMEOUT_MAX_MS)
    problems.push({ field: 'stop_config.timeout', message: `is ${stop?.timeout}; at most 5m` })
  return problems
}
