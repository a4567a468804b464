import { z } from 'zod'
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
  /** Prefixes that machines must never reach: hosts, control plane. */
  protectedPrefixes: z.array(z.string()),
  resolvers: z.array(z.string()),
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
