import { readFileSync } from 'node:fs'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import { metricsAnswer, serveLocalHttp } from '../base/local-http.ts'
import { createLogger } from '../base/log.ts'
import { RotatingLog } from '../base/rotating-log.ts'
import { Meter, meterMemory } from '../outbound/meter.ts'
import { renderMetrics } from '../outbound/metrics.ts'
import { ServedProxies } from '../outbound/served.ts'
import { followFeedSocket } from './feed-socket-client.ts'
import { tellAlive } from './heartbeat.ts'
import { OutboundConfig } from './outbound-config.ts'
import { OutboundWorkers } from './outbound-workers.ts'
import { replayReplica } from './replica.ts'

/**
 * The outbound proxy's process, in a network namespace of its own. Its workers carry the traffic; this
 * thread follows the agent, writes the request log, and tells the holder that all of them are alive.
 */

const DRAIN_SLACK_MS = 1_000

const config = OutboundConfig.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const log = createLogger('outbound').child({ host: config.host })
const requestLog = new RotatingLog(config.requestLog)
const memory = meterMemory(config.workers)
const meter = new Meter(memory, config.workers, 0, Date.now)
const served = new ServedProxies(
  config.host,
  (slot) => meter.open(slot),
  (change) => workers?.change(change),
  (key, problem) => log.error({ key, problem }, 'a record cannot be read; the one before stays'),
)
let workers: OutboundWorkers | undefined
const after = loadReplica()
workers = new OutboundWorkers({
  ...{ config, tls: readTls(), meter: memory, log },
  all: () => served.all(),
  onLines: (text) => requestLog.write(text),
})
followFeedSocket(config.feedSocket, {
  after,
  onLine: (line) => served.apply(line),
  signal: new AbortController().signal,
})
const all = workers

process.on('SIGTERM', () => void drain())
process.on('SIGINT', () => void drain())
process.on('disconnect', () => process.exit(0))
tellAlive(all)
await all.listen()
await serveMetrics()
process.send?.({ t: 'ready' })
keepCompiled()

/** The state of the last run, for as long as the agent is away. Gives its revision. */
function loadReplica(): number {
  try {
    return replayReplica(config.replica, (line) => served.apply(line))
  } catch (error) {
    log.error({ error: messageOf(error) }, 'the replica cannot be read')
    return 0
  }
}

function readTls(): { cert: string; key: string } | null {
  if (!config.tls) return null
  const { cert, key } = config.tls
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
}

/** Made under a name of its own and moved: an older process that ends takes away only its own. */
async function serveMetrics(): Promise<void> {
  const failed = (error: unknown) => log.error({ error: messageOf(error) }, 'no metrics')
  const answer = async () => metricsAnswer(renderMetrics(await all.snapshots()))
  await serveLocalHttp(config.metricsSocket, answer, failed).catch(failed)
}

async function drain(): Promise<void> {
  setTimeout(() => process.exit(0), config.drainMs + DRAIN_SLACK_MS)
  await all.drain()
  process.exit(0)
}
