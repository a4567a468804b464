import { z } from 'zod'
import { MachineConfig } from '../model/machine-config.ts'
import { CheckStatus, MACHINE_STATES, MachineEvent } from '../model/resources.ts'
import { Time } from './routes.ts'

/** What answers say of a machine (flyctl-api 4.2). */

/** How a machine's packets leave; null: by its host's own addresses. */
export const MachineEgress = z
  .object({
    id: z.string().nullable(),
    v4: z.string().nullable(),
    v6: z.string().nullable(),
    slot: z.int().nullable(),
    count: z.int().nullable(),
    ports: z.object({ from: z.int(), to: z.int() }).nullable(),
    problem: z.string().nullable(),
  })
  .nullable()
  .meta({ id: 'MachineEgress' })

export const MachineState = z.enum(MACHINE_STATES).meta({ id: 'MachineState' })

export const Machine = z
  .object({
    id: z.string(),
    name: z.string(),
    state: MachineState,
    region: z.string(),
    instance_id: z.string(),
    version: z.string(),
    private_ip: z.string().meta({ format: 'ipv6' }),
    created_at: Time,
    updated_at: Time,
    config: MachineConfig,
    image_ref: z.object({
      registry: z.string(),
      repository: z.string(),
      tag: z.string(),
      digest: z.string(),
      labels: z.record(z.string(), z.string()),
    }),
    events: z.array(MachineEvent),
    checks: z.array(CheckStatus),
    host_status: z.enum(['ok', 'unreachable']),
    cordoned: z.boolean(),
    host: z.object({ id: z.string() }),
    egress: MachineEgress,
    nonce: z.string().optional(),
  })
  .meta({ id: 'Machine' })

/** A process in a machine. Times are seconds, sizes bytes. */
export const Process = z
  .looseObject({
    pid: z.int(),
    stime: z.int(),
    rtime: z.int(),
    cpu: z.int(),
    rss: z.int(),
    command: z.string(),
    directory: z.string(),
    listen_sockets: z.array(z.object({ proto: z.string(), address: z.string() })),
  })
  .meta({ id: 'Process' })
export type Process = z.output<typeof Process>
