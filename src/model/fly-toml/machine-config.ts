import { invalid, messageOf } from '../../base/errors.ts'
import { Check, MachineConfig, Port, Service } from '../machine-config.ts'
import { type Init, initOf } from './command.ts'
import { groupsOf, groupsOfSection } from './groups.ts'
import { guestOf } from './guest.ts'
import type {
  AppConfig,
  HttpService,
  ServiceCheck,
  Service as TomlService,
  TopCheck,
} from './schema.ts'

export interface ConversionInput {
  /** Reference of the artifact that the machines run. */
  readonly image: string
  readonly release?: { readonly id: string; readonly version: number }
  /** Goes into the metadata, as flyctl writes its own. */
  readonly clientVersion: string
}

/** The config of each process group's machines, by group. Expects a config without errors. */
export function toMachineConfigs(
  config: AppConfig,
  input: ConversionInput,
): Record<string, MachineConfig> {
  return Object.fromEntries(
    groupsOf(config).map((group) => [
      group,
      machineConfig(config, group, initOf(config, group), input),
    ]),
  )
}

/** The services of a group; all that is needed to see what an app exposes. */
export function servicesOf(config: AppConfig, group: string): Service[] {
  const mine = (section: { processes?: string[] | undefined }) =>
    groupsOfSection(config, section.processes).includes(group)
  const http = config.http_service
  return [
    ...(http && mine(http) ? [httpService(http)] : []),
    ...(config.services ?? []).filter(mine).map(service),
  ]
}

function machineConfig(
  config: AppConfig,
  group: string,
  init: Init,
  input: ConversionInput,
): MachineConfig {
  const services = servicesOf(config, group)
  const checks = checksOf(config, group)
  const restart = restartOf(config, group)
  const stop = stopConfig(config)
  return MachineConfig.parse({
    ...extraConfig(config),
    image: input.image,
    env: envOf(config, group),
    init,
    guest: guestOf(config, group),
    metadata: metadata(group, input),
    ...(services.length > 0 && { services }),
    ...(Object.keys(checks).length > 0 && { checks }),
    ...(restart && { restart }),
    ...(stop && { stop_config: stop }),
  })
}

function extraConfig(config: AppConfig): Record<string, unknown> {
  const text = config.machine_config ?? config.experimental?.machine_config
  if (text === undefined) return {}
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch (error) {
    throw invalid(`machine_config is not JSON (${messageOf(error)}); correct it or remove it.`)
  }
}

const envOf = (config: AppConfig, group: string): Record<string, string> => ({
  ...config.env,
  FLY_PROCESS_GROUP: group,
  ...(config.primary_region && { PRIMARY_REGION: config.primary_region }),
})

const metadata = (group: string, input: ConversionInput): Record<string, string> => ({
  fly_flyctl_version: input.clientVersion,
  fly_platform_version: 'v2',
  fly_process_group: group,
  ...(input.release && {
    fly_release_id: input.release.id,
    fly_release_version: String(input.release.version),
  }),
})

/** S2: force_https is of port 80 alone, tls_options of 443 alone, http_options of both. */
function httpService(http: HttpService): Service {
  const shared = http.http_options && { http_options: http.http_options }
  return Service.parse({
    protocol: 'tcp',
    ...scaling(http),
    ports: [
      { port: 80, handlers: ['http'], ...(http.force_https && { force_https: true }), ...shared },
      {
        port: 443,
        handlers: ['http', 'tls'],
        ...shared,
        ...(http.tls_options && { tls_options: http.tls_options }),
      },
    ],
    ...checkList([...(http.checks ?? []).map((c) => check('http', c))]),
  })
}

function service(from: TomlService): Service {
  return Service.parse({
    protocol: from.protocol ?? 'tcp',
    ...scaling(from),
    ports: (from.ports ?? []).map((port) => Port.parse(completeRange(port))),
    ...checkList([
      ...(from.tcp_checks ?? []).map((c) => check('tcp', c)),
      ...(from.http_checks ?? []).map((c) => check('http', c)),
    ]),
  })
}

/** S15: an end that is not given is the end of all ports. */
function completeRange<P extends { start_port?: number; end_port?: number }>(port: P): P {
  if (port.start_port === undefined && port.end_port === undefined) return port
  return { ...port, start_port: port.start_port ?? 1, end_port: port.end_port ?? 65_535 }
}

const AUTOSTOP = { off: false, stop: true, suspend: 'suspend' } as const

/** X6: in fly.toml machines start on a request unless it says otherwise. */
const scaling = (from: HttpService | TomlService) => ({
  internal_port: from.internal_port,
  ...(from.auto_stop_machines && { autostop: AUTOSTOP[from.auto_stop_machines] }),
  autostart: from.auto_start_machines ?? true,
  ...(from.min_machines_running !== undefined && {
    min_machines_running: from.min_machines_running,
  }),
  ...(from.concurrency && { concurrency: from.concurrency }),
  ...(from.fairway && { fairway: from.fairway }),
})

const checkList = (checks: readonly Check[]) => (checks.length > 0 ? { checks } : {})

function check(type: 'http' | 'tcp', from: ServiceCheck): Check {
  const { headers, method, ...rest } = from
  return Check.parse({
    ...rest,
    type,
    ...(method && { method: method.toUpperCase() }),
    ...(headers && {
      headers: Object.entries(headers).map(([name, value]) => ({ name, values: [value] })),
    }),
  })
}

function checksOf(config: AppConfig, group: string): Record<string, Check> {
  const fallback = config.http_service?.internal_port
  const mine = (c: TopCheck) => groupsOfSection(config, c.processes).includes(group)
  return Object.fromEntries(
    Object.entries(config.checks ?? {})
      .filter(([, c]) => mine(c))
      .map(([name, { processes: _, ...c }]) => {
        const port = c.port ?? fallback
        return [name, { ...check(c.type === 'http' ? 'http' : 'tcp', c), ...(port && { port }) }]
      }),
  )
}

const RESTART: Record<string, string> = { never: 'no' }

function restartOf(config: AppConfig, group: string) {
  const all = config.restart ?? []
  const found =
    all.find((r) => r.processes?.includes(group)) ?? all.find((r) => !r.processes?.length)
  if (!found) return undefined
  return {
    ...(found.policy && { policy: RESTART[found.policy] ?? found.policy }),
    ...(found.retries !== undefined && { max_retries: found.retries }),
  }
}

function stopConfig(config: AppConfig) {
  if (config.kill_signal === undefined && config.kill_timeout === undefined) return undefined
  return {
    ...(config.kill_signal && { signal: config.kill_signal }),
    ...(config.kill_timeout && { timeout: config.kill_timeout }),
  }
}
