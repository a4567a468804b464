import { z } from 'zod'

/** What the outbound process is told by the holder: a JSON file whose path is its one argument. */
export const OutboundConfig = z.object({
  host: z.string(),
  /** Path of the agent's replica; read only. */
  replica: z.string(),
  /** Path of the agent's unix socket. */
  feedSocket: z.string(),
  /** Inherited descriptor of the transparent listener; all workers accept from it. */
  listenFd: z.number().int().min(3),
  workers: z.number().int().min(1).max(64),
  /** Name servers that names of destinations are asked of. */
  resolvers: z.array(z.string()).min(1),
  /** Destinations that no allow-list opens: hosts, control plane, this proxy. */
  neverPrefixes: z.array(z.string()),
  /** Paths of PEM files; null: no TLS to the proxy. */
  tls: z.object({ cert: z.string(), key: z.string() }).nullable(),
  drainMs: z.number().int().min(0),
  /** One JSON line per request; the file before it is kept too. */
  requestLog: z.string(),
  /** Unix socket that answers GET /metrics. */
  metricsSocket: z.string(),
})
export type OutboundConfig = z.infer<typeof OutboundConfig>
