import { z } from 'zod'
import { AccessLogConfig, TracesConfig } from '../model/observe-config.ts'

/** Name of the edge's socket in the host's run folder. */
export const EDGE_SOCKET = 'edge-metrics.sock'

/** What the edge process is told by the holder: a JSON file whose path is its one argument. */
export const EdgeConfig = z.object({
  /** Id and region of the host, and its number. */
  host: z.string(),
  region: z.string(),
  index: z.number().int().min(1),
  /** Path of the agent's replica; read only. */
  replica: z.string(),
  /** Path of the agent's unix socket. */
  feedSocket: z.string(),
  /** Inherited listening sockets, one for each worker. */
  listenFds: z.array(z.number().int().min(3)).min(1),
  appsDomains: z.array(z.string()).min(1),
  meshAddress: z.string(),
  backhaulPort: z.number().int().min(1).max(65_535),
  workers: z.number().int().min(1).max(64),
  /** Time for requests in flight after SIGTERM. */
  drainMs: z.number().int().min(0),
  /** Unix socket that answers GET /metrics and /explain. */
  metricsSocket: z.string(),
  accessLog: AccessLogConfig.extend({ path: z.string() }).nullable().default(null),
  traces: TracesConfig.nullable().default(null),
})
export type EdgeConfig = z.infer<typeof EdgeConfig>
