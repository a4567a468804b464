import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import { formatPrefix, type Prefix, parsePrefix, prefixContains } from '../base/ip.ts'
import { Host, Region } from '../model/resources.ts'

/** The control plane's configuration, a JSON file. Every time is in milliseconds. */

const port = z.number().int().min(0).max(65_535)

/** Pools of IPv4 are walked address by address, shared ones are listed: hence the shortest lengths. */
const prefix = (family: 4 | 6, lengthMin: number) =>
  z.string().refine(
    (text) => {
      const parsed = parsePrefix(text)
      return parsed?.family === family && parsed.length >= lengthMin
    },
    {
      error: (issue) =>
        `"${issue.input}" is not an IPv${family} prefix of /${lengthMin} or longer, such as ${EXAMPLE[family]}`,
    },
  )
const EXAMPLE = { 4: '203.0.113.16/28', 6: '2001:db8:1::/48' } as const

/** Decimal text, so that no price is ever rounded. */
const price = z.string().regex(/^\d+(\.\d{1,4})?$/, 'a price is decimal text such as "2.00"')

export const Prices = z.object({
  currency: z
    .string()
    .regex(/^[A-Z]{3}$/)
    .default('USD'),
  v4PerMonth: price.default('2.00'),
  sharedV4PerMonth: price.default('0.00'),
  v6PerMonth: price.default('0.00'),
  privateV6PerMonth: price.default('0.00'),
  /** E8; the IPv6 address of a pair comes with it. */
  egressV4PerMonth: price.default('3.60'),
  egressV6PerMonth: price.default('0.00'),
})
export type Prices = z.infer<typeof Prices>

/** Hosts as the operator describes them; the mesh key comes from the host itself. */
export const ConfiguredHost = Host.omit({ meshPublicKey: true })

export const ControlConfig = z
  .object({
    stateDir: z.string().min(1),
    api: z.object({ host: z.string(), port }),
    agents: z.object({ host: z.string(), port, names: z.array(z.string().min(1)).min(1) }),
    /** First one is the canonical `<app>.<domain>`. */
    appsDomains: z.array(z.string().min(1)).min(1),
    regions: z.array(Region).min(1),
    hosts: z.array(ConfiguredHost),
    pools: z.object({
      v4: z.array(prefix(4, 16)),
      /** Single addresses that apps share, found by name. */
      sharedV4: z.array(prefix(4, 24)),
      v6: z.array(prefix(6, 16)),
    }),
    /** Where egress pairs come from, by region; `global` is for outbound proxies. */
    egressPools: z
      .record(z.string(), z.object({ v4: z.array(prefix(4, 16)), v6: z.array(prefix(6, 16)) }))
      .default({}),
    /** How long a released address rests at least: one of egress also until its hosts have let go of it. */
    quarantineMs: z.number().int().min(0).default(60_000),
    prices: Prices.prefault({}),
    /** How long attach and detach wait for the edges to switch. */
    attachWaitMs: z.number().int().min(0).max(60_000).default(2_000),
  })
  .superRefine((config, context) => {
    const regions = new Set(config.regions.map((region) => region.code))
    config.hosts.forEach((host, i) => {
      if (regions.has(host.region)) return
      context.addIssue({
        code: 'custom',
        path: ['hosts', i, 'region'],
        message: `host "${host.id}" names region "${host.region}", which is not in regions`,
      })
    })
    for (const region of Object.keys(config.egressPools)) {
      if (regions.has(region) || region === GLOBAL_REGION) continue
      context.addIssue({
        code: 'custom',
        path: ['egressPools', region],
        message: `"${region}" is neither one of regions nor "${GLOBAL_REGION}"`,
      })
    }
    for (const [a, b] of overlaps(config)) {
      context.addIssue({
        code: 'custom',
        path: [b.path],
        message: `${formatPrefix(b.prefix)} overlaps ${formatPrefix(a.prefix)} of ${a.path}; an address belongs to one pool`,
      })
    }
  })
export type ControlConfig = z.infer<typeof ControlConfig>

/** The pool of outbound proxies, which every host announces. */
export const GLOBAL_REGION = 'global'

interface PoolPart {
  readonly path: string
  readonly prefix: Prefix
}

/** Prefixes of the egress pools that share addresses with another pool's. */
function overlaps(config: {
  readonly pools: { readonly v4: string[]; readonly sharedV4: string[]; readonly v6: string[] }
  readonly egressPools: Readonly<Record<string, { readonly v4: string[]; readonly v6: string[] }>>
}): [PoolPart, PoolPart][] {
  const partsOf = (path: string, prefixes: readonly string[]): PoolPart[] =>
    prefixes.flatMap((text) => {
      const prefix = parsePrefix(text)
      return prefix ? [{ path, prefix }] : []
    })
  const ingress = Object.entries(config.pools).flatMap(([kind, list]) =>
    partsOf(`pools.${kind}`, list),
  )
  const egress = Object.entries(config.egressPools).flatMap(([region, { v4, v6 }]) =>
    partsOf(`egressPools.${region}`, [...v4, ...v6]),
  )
  return egress.flatMap((part, i) =>
    [...ingress, ...egress.slice(0, i)]
      .filter(
        ({ prefix }) => prefixContains(prefix, part.prefix) || prefixContains(part.prefix, prefix),
      )
      .map((other): [PoolPart, PoolPart] => [other, part]),
  )
}

/** Reads and checks the file; the error names the file, the field and the value's problem. */
export function loadControlConfig(path: string): ControlConfig {
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new FairwayError('bad_config', `${path}: ${messageOf(cause)}`, { cause })
  }
  return parseControlConfig(json, path)
}

export function parseControlConfig(json: unknown, source: string): ControlConfig {
  const result = ControlConfig.safeParse(json)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new FairwayError('bad_config', `${source}: ${lines.join('; ')}`)
}
