import { z } from 'zod'
import { DURATION } from './duration.ts'
import { ServiceExtension } from './service-options.ts'

/**
 * What a machine is asked to be: the Machines API's `config` (flyctl-api 7.1). Unknown keys are kept,
 * so that a client reads back what it wrote; known keys are checked. Durations are Go strings
 * (`15s`); numbers are nanoseconds.
 */
const duration = z.union([z.string().regex(DURATION), z.number().int().min(0)])

export const HANDLERS = ['http', 'tls', 'pg_tls', 'proxy_proto'] as const
export type Handler = (typeof HANDLERS)[number]

/** Of a machine, its services' and its own together: so many a host runs. */
export const CHECKS_MAX = 64

const portNumber = z.number().int().min(1).max(65_535)

const httpOptions = z.looseObject({
  compress: z.boolean().optional(),
  h2_backend: z.boolean().optional(),
  idle_timeout: z.number().int().min(0).optional(),
  headers_read_timeout: z.number().int().min(0).optional(),
  response: z
    .looseObject({
      headers: z
        .record(z.string(), z.union([z.literal(false), z.string(), z.array(z.string())]))
        .optional(),
      pristine: z.boolean().optional(),
    })
    .optional(),
})

export const Port = z
  .looseObject({
    port: portNumber.optional(),
    start_port: portNumber.optional(),
    end_port: portNumber.optional(),
    handlers: z.array(z.enum(HANDLERS)).nullish(),
    force_https: z.boolean().optional(),
    http_options: httpOptions.nullish(),
    tls_options: z.looseObject({}).nullish(),
    proxy_proto_options: z.looseObject({ version: z.string().optional() }).nullish(),
  })
  .meta({ id: 'Port' })
export type Port = z.infer<typeof Port>

const httpHeader = z.looseObject({ name: z.string(), values: z.array(z.string()) })

export const Check = z
  .looseObject({
    type: z.enum(['tcp', 'http']).optional(),
    port: portNumber.optional(),
    interval: duration.optional(),
    timeout: duration.optional(),
    grace_period: duration.optional(),
    method: z.string().optional(),
    path: z.string().optional(),
    protocol: z.enum(['http', 'https']).optional(),
    tls_skip_verify: z.boolean().optional(),
    tls_server_name: z.string().optional(),
    headers: z.array(httpHeader).optional(),
  })
  .meta({ id: 'Check' })
export type Check = z.infer<typeof Check>

export const Concurrency = z.looseObject({
  type: z.enum(['connections', 'requests']).optional(),
  soft_limit: z.number().int().min(1).optional(),
  hard_limit: z.number().int().min(1).optional(),
})
export type Concurrency = z.infer<typeof Concurrency>

export const Service = z
  .looseObject({
    protocol: z.enum(['tcp', 'udp']).default('tcp'),
    internal_port: portNumber,
    autostop: z.union([z.boolean(), z.enum(['off', 'stop', 'suspend'])]).optional(),
    autostart: z.boolean().optional(),
    min_machines_running: z.number().int().min(0).optional(),
    ports: z.array(Port).nullish(),
    checks: z.array(Check).nullish(),
    concurrency: Concurrency.nullish(),
    fairway: ServiceExtension.nullish(),
  })
  .meta({ id: 'Service' })
export type Service = z.infer<typeof Service>

export const Guest = z.looseObject({
  cpu_kind: z.string().default('shared'),
  cpus: z.number().int().min(1).max(128).default(1),
  memory_mb: z.number().int().min(64).max(1_048_576).default(256),
})
export type Guest = z.infer<typeof Guest>

export const DEFAULT_GUEST = { cpu_kind: 'shared', cpus: 1, memory_mb: 256 }

export const MachineConfig = z
  .looseObject({
    image: z.string().min(1),
    env: z.record(z.string(), z.string()).optional(),
    init: z
      .looseObject({
        exec: z.array(z.string()).nullish(),
        entrypoint: z.array(z.string()).nullish(),
        cmd: z.array(z.string()).nullish(),
      })
      .optional(),
    guest: Guest.default(DEFAULT_GUEST),
    metadata: z.record(z.string(), z.string()).optional(),
    services: z.array(Service).nullish(),
    checks: z.record(z.string(), Check).nullish(),
    restart: z
      .looseObject({
        policy: z.enum(['no', 'on-failure', 'always']).optional(),
        max_retries: z.number().int().min(0).optional(),
      })
      .optional(),
    stop_config: z
      .looseObject({ signal: z.string().optional(), timeout: duration.nullish() })
      .nullish(),
    auto_destroy: z.boolean().optional(),
  })
  .meta({ id: 'MachineConfig' })
export type MachineConfig = z.infer<typeof MachineConfig>
