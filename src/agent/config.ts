import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { FairwayError, messageOf } from '../base/errors.ts'
import { parseIp, parsePrefix } from '../base/ip.ts'
import { Host } from '../model/resources.ts'

const prefix = z.string().refine((text) => parsePrefix(text) !== undefined, 'not a prefix')
const controlUrl = z
  .string()
  .refine(
    (text) => /^https:\/\/[^/]+\/?$/.test(text) && URL.canParse(text),
    'not https://host:port',
  )

/** The agent's configuration: a JSON file, whose path is the only argument. */
export const AgentConfig = z.object({
  host: Host.omit({ meshPublicKey: true }),
  /** Kept across restarts: replica, keys, machines. */
  stateDir: z.string(),
  /** Sockets; may be lost with the machine's memory. */
  runDir: z.string(),
  /** Each control process; they are tried in turn. */
  controlUrls: z.array(controlUrl).min(1),
  /** Paths of PEM files; `serverName` when the URLs do not name what the certificate names. */
  tls: z.object({
    ca: z.string(),
    cert: z.string(),
    key: z.string(),
    serverName: z.string().optional(),
  }),
  appsDomains: z.array(z.string()).min(1),
  /** Prefixes that the host's edge answers. */
  publicPrefixes: z.array(prefix),
  /** Every prefix of static sources in the fleet. */
  egressPrefixes: z.array(prefix).default([]),
  /** The IPv6 prefix that machines without a static source leave from; null: by the host's address. */
  machinesV6: prefix.nullable().default(null),
  /** Prefixes that machines must never reach: hosts, control plane. */
  protectedPrefixes: z.array(prefix).default([]),
  /** Of those, where the host's name server answers the public. */
  nameServerAddresses: z
    .array(z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address'))
    .default([]),
  /** Where the outbound proxy answers the public; none: the host runs none. */
  outboundAddresses: z
    .array(z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address'))
    .default([]),
  /** Addresses of the routers that the host's BIRD speaks with. */
  bgpPeers: z
    .array(z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address'))
    .default([]),
  /** The interface of the underlay. */
  wanInterface: z.string().default('wan'),
  worldResolvers: z.array(z.string()).default([]),
  /** Name servers of the machines. */
  machineResolvers: z
    .array(z.string().refine((text) => parseIp(text) !== undefined, 'not an IP address'))
    .default(['fdaa::3']),
  /** The Node binary that machines find; default: the agent's own. */
  machineNodePath: z.string().default(process.execPath),
  /** Parent of the machines' cgroups; null where cgroups are not ours to use. */
  cgroupRoot: z.string().nullable().default(null),
  /** BIRD's control socket and the files that its configuration includes; null: no announcements. */
  bird: z
    .object({
      control: z.string(),
      files: z.object({
        ...{ v4: z.string(), v6: z.string() },
        ...{ egress4: z.string(), egress6: z.string() },
      }),
    })
    .nullable()
    .default(null),
})
export type AgentConfig = z.infer<typeof AgentConfig>

/** Throws `FairwayError` with code `bad_config`, naming the file and its first problem. */
export function readAgentConfig(path: string | undefined): AgentConfig {
  const fail = (why: string): never => {
    throw new FairwayError('bad_config', `the agent's configuration ${path ?? '(no path)'}: ${why}`)
  }
  try {
    const parsed = AgentConfig.safeParse(JSON.parse(readFileSync(path ?? '', 'utf8')))
    if (parsed.success) return parsed.data
    const [issue] = parsed.error.issues
    return fail(`${issue?.path.map(String).join('.') || 'file'}: ${issue?.message}`)
  } catch (error) {
    if (error instanceof FairwayError) throw error
    return fail(messageOf(error))
  }
}
