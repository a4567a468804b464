import { z } from 'zod'

/** What flyctl decodes: types that are wrong there are errors or crashes of the client. */

export const text = z.string()
export const some = z.string().min(1)
export const int = z.number().int()
export const int32 = z
  .number()
  .int()
  .min(-(2 ** 31))
  .max(2 ** 31 - 1)
export const flag = z.boolean()
/** A number that GraphQL sends as text. */
export const digits = z.string().regex(/^\d+$/)
/** RFC 3339; an empty text is a decoding error. */
export const time = z.iso.datetime({ offset: true })
export const is = z.literal
export const list = z.array
export const any = z.unknown()
/** Exactly these keys. */
export const exact = z.strictObject
/** At least these keys. */
export const has = z.looseObject

export const nodes = <T extends z.ZodType>(node: T) => exact({ nodes: list(node) })
/** A GraphQL answer without errors. */
export const data = (shape: z.core.$ZodLooseShape) => exact({ data: exact(shape) })
/** Clients look at the first error alone, and into its extensions for texts. */
export const graphqlError = (message: RegExp, code: string) =>
  has({
    errors: z
      .array(has({ message: z.string().regex(message), extensions: has({ code: is(code) }) }))
      .min(1),
  })

const event = has({
  type: some,
  status: some,
  source: some,
  /** Milliseconds. */
  timestamp: int,
}).refine(
  // deploy's smoke check looks into it.
  (one) =>
    one.type !== 'exit' || (one.request as { exit_event?: object })?.exit_event !== undefined,
  'an exit event has its exit_event',
)

export const config = has({
  // machine status reads it without looking whether it is there.
  guest: has({ cpu_kind: some, cpus: int, memory_mb: int }),
  image: some,
})

export const machineShape = {
  id: some,
  name: some,
  state: some,
  region: some,
  image_ref: has({ registry: some, repository: some, tag: text, digest: some }),
  instance_id: some,
  version: some,
  private_ip: z.ipv6(),
  created_at: time,
  updated_at: time,
  config,
  events: list(event),
  checks: list(has({ name: some, status: some, output: text, updated_at: time })),
  // Anything else, and the client takes it for unreachable.
  host_status: is('ok'),
  cordoned: flag,
}
export const machine = has(machineShape)
/** The same in one of these states. */
export const machineIn = (...states: [string, ...string[]]) =>
  has({ ...machineShape, state: z.enum(states) })

export const restApp = has({
  id: some,
  name: is('shop'),
  internal_numeric_id: int32,
  network: text,
  status: z.enum(['pending', 'deployed', 'suspended']),
  machine_count: int,
  volume_count: int,
  organization: has({ name: some, slug: is('personal'), internal_numeric_id: int32 }),
  cname_target: some,
  app_role: text,
})

export const lease = has({
  status: is('success'),
  data: has({
    nonce: some,
    /** Seconds, not milliseconds. */
    expires_at: int.max(4_000_000_000),
    owner: some,
    version: some,
  }),
})

export const release = has({
  id: some,
  version: int,
  stable: flag,
  in_progress: flag,
  status: some,
  strategy: some,
  user: has({ id: some, email: some, name: some }),
  created_at: time,
  image_ref: some,
})

export const restError = (pattern: RegExp, status?: string) =>
  has({ error: z.string().regex(pattern), ...(status ? { status: is(status) } : {}) })
