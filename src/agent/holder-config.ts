import { z } from 'zod'
import { ObserveConfig } from '../model/observe-config.ts'
import { Host } from '../model/resources.ts'

/** What a host is told once, by whoever set it up. */
export const HolderConfig = z.object({
  host: Host.omit({ meshPublicKey: true }),
  /** Kept across restarts. */
  stateDir: z.string(),
  /** Sockets and generated configuration; may be lost. */
  runDir: z.string(),
  logDir: z.string(),
  controlUrls: z.array(z.string()),
  /** Paths of PEM files. */
  tls: z.object({ ca: z.string(), cert: z.string(), key: z.string() }),
  appsDomains: z.array(z.string()),
  /** Prefixes that the host announces and its edge answers. */
  announce: z.array(z.string()),
  egress: z.object({
    /** Every prefix of static sources in the fleet. */
    prefixes: z.array(z.string()),
    /** Those of them that the host announces, whether an edge serves or not. */
    announce: z.array(z.string()),
    /** The /64 of the host's machines: their IPv6 sources while they have no static one. */
    machinesV6: z.string(),
  }),
  /** Prefixes that machines must never reach: hosts, control plane. */
  protectedPrefixes: z.array(z.string()),
  resolvers: z.array(z.string()),
  /** Public addresses on which the name server beside the edge answers; none: there is none. */
  nameServerAddresses: z.array(z.string()).default([]),
  /** The outbound proxy's addresses within `announce`, and its certificate; null: there is none. */
  outbound: z
    .object({
      addresses: z.array(z.string()).min(1),
      tls: z.object({ cert: z.string(), key: z.string() }).nullable(),
      workers: z.number().int().min(1).max(64),
    })
    .nullable()
    .default(null),
  observe: ObserveConfig.default({ accessLog: null, traces: null }),
  edgeWorkers: z.number().int().min(1).max(64),
  bird: z.object({
    routerId: z.string(),
    as: z.number(),
    device: z.string(),
    localV4: z.string(),
    localV6: z.string(),
    routerV4: z.string(),
    routerV6: z.string(),
    routerAs: z.number(),
  }),
  /** Parent of the machines' cgroups; null where cgroups are not ours to use. */
  cgroupRoot: z.string().nullable(),
})
export type HolderConfig = z.infer<typeof HolderConfig>
