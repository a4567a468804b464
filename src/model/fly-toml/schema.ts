import { z } from 'zod'
import { ServiceExtension } from '../service-options.ts'

/**
 * A fly.toml after `normalise`: one spelling for everything, types checked, values not yet
 * (validate.ts says what is wrong with them in words that name the fix). Key names are fly.toml's own,
 * because this is also the `definition` of a release (flyctl-api 7.2). Unknown keys are kept.
 */
const duration = z.string()
const processes = z.array(z.string()).optional()

export const Concurrency = z.looseObject({
  type: z.string().optional(),
  soft_limit: z.number().int().optional(),
  hard_limit: z.number().int().optional(),
})
export type Concurrency = z.infer<typeof Concurrency>

export const HttpOptions = z.looseObject({
  compress: z.boolean().optional(),
  h2_backend: z.boolean().optional(),
  idle_timeout: z.number().int().optional(),
  headers_read_timeout: z.number().int().optional(),
  response: z
    .looseObject({
      headers: z
        .record(z.string(), z.union([z.literal(false), z.string(), z.array(z.string())]))
        .optional(),
      pristine: z.boolean().optional(),
    })
    .optional(),
  replay_cache: z
    .array(
      z.looseObject({
        path_prefix: z.string().optional(),
        ttl_seconds: z.number().int().optional(),
        type: z.string().optional(),
        name: z.string().optional(),
        allow_bypass: z.boolean().optional(),
      }),
    )
    .optional(),
})

export const TlsOptions = z.looseObject({
  alpn: z.array(z.string()).optional(),
  versions: z.array(z.string()).optional(),
  default_self_signed: z.boolean().optional(),
})

export const ServiceCheck = z.looseObject({
  interval: duration.optional(),
  timeout: duration.optional(),
  grace_period: duration.optional(),
  method: z.string().optional(),
  path: z.string().optional(),
  protocol: z.string().optional(),
  tls_skip_verify: z.boolean().optional(),
  tls_server_name: z.string().optional(),
  headers: z.record(z.string(), z.string()).optional(),
})
export type ServiceCheck = z.infer<typeof ServiceCheck>

export const TopCheck = z.looseObject({
  ...ServiceCheck.shape,
  type: z.string().optional(),
  port: z.number().int().optional(),
  processes,
})
export type TopCheck = z.infer<typeof TopCheck>

/** S38: run once against each machine that a deploy has changed. */
export const MachineCheck = z.looseObject({
  image: z.string().optional(),
  entrypoint: z.array(z.string()).optional(),
  command: z.array(z.string()).optional(),
  kill_signal: z.string().optional(),
  kill_timeout: duration.optional(),
})
export type MachineCheck = z.infer<typeof MachineCheck>

export const Port = z.looseObject({
  port: z.number().int().optional(),
  start_port: z.number().int().optional(),
  end_port: z.number().int().optional(),
  handlers: z.array(z.string()).optional(),
  force_https: z.boolean().optional(),
  http_options: HttpOptions.optional(),
  tls_options: TlsOptions.optional(),
  proxy_proto_options: z.looseObject({ version: z.string().optional() }).optional(),
})
export type Port = z.infer<typeof Port>

const scaling = {
  internal_port: z.number().int().optional(),
  auto_stop_machines: z.enum(['off', 'stop', 'suspend']).optional(),
  auto_start_machines: z.boolean().optional(),
  min_machines_running: z.number().int().optional(),
  concurrency: Concurrency.optional(),
  /** Not Fly's: what only this platform has. */
  fairway: ServiceExtension.optional(),
  machine_checks: z.array(MachineCheck).optional(),
  processes,
}

export const HttpService = z.looseObject({
  ...scaling,
  force_https: z.boolean().optional(),
  http_options: HttpOptions.optional(),
  tls_options: TlsOptions.optional(),
  checks: z.array(ServiceCheck).optional(),
})
export type HttpService = z.infer<typeof HttpService>

export const Service = z.looseObject({
  ...scaling,
  protocol: z.string().optional(),
  ports: z.array(Port).optional(),
  tcp_checks: z.array(ServiceCheck).optional(),
  http_checks: z.array(ServiceCheck).optional(),
})
export type Service = z.infer<typeof Service>

export const Vm = z.looseObject({
  size: z.string().optional(),
  memory: z.union([z.string(), z.number().int()]).optional(),
  memory_mb: z.number().int().optional(),
  cpu_kind: z.string().optional(),
  cpus: z.number().int().optional(),
  processes,
})
export type Vm = z.infer<typeof Vm>

export const Restart = z.looseObject({
  policy: z.string().optional(),
  retries: z.number().int().optional(),
  processes,
})

export const AppConfig = z.looseObject({
  app: z.string().optional(),
  primary_region: z.string().optional(),
  kill_signal: z.string().optional(),
  kill_timeout: duration.optional(),
  console_command: z.string().optional(),
  swap_size_mb: z.number().int().optional(),
  image: z.string().optional(),
  build: z.looseObject({}).optional(),
  deploy: z
    .looseObject({
      strategy: z.string().optional(),
      release_command: z.string().optional(),
      release_command_timeout: duration.optional(),
      release_command_vm: Vm.optional(),
      /** Below 1 a part of the machines, else a number of them. */
      max_unavailable: z.number().optional(),
      wait_timeout: duration.optional(),
    })
    .optional(),
  env: z.record(z.string(), z.string()).optional(),
  processes: z.record(z.string(), z.string()).optional(),
  http_service: HttpService.optional(),
  services: z.array(Service).optional(),
  checks: z.record(z.string(), TopCheck).optional(),
  machine_checks: z.array(MachineCheck).optional(),
  vm: z.array(Vm).optional(),
  restart: z.array(Restart).optional(),
  mounts: z.array(z.looseObject({})).optional(),
  metrics: z.array(z.looseObject({})).optional(),
  files: z.array(z.looseObject({})).optional(),
  statics: z.array(z.looseObject({})).optional(),
  experimental: z
    .looseObject({
      cmd: z.array(z.string()).optional(),
      entrypoint: z.array(z.string()).optional(),
      exec: z.array(z.string()).optional(),
      machine_config: z.string().optional(),
    })
    .optional(),
  machine_config: z.string().optional(),
})
export type AppConfig = z.infer<typeof AppConfig>
