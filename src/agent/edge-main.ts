import { readFileSync } from 'node:fs'
import { isoTime } from '../base/clock.ts'
import { keepCompiled } from '../base/compiled.ts'
import { messageOf } from '../base/errors.ts'
import type { LogLine } from '../model/wire.ts'
import { renderMetrics } from '../proxy/counters.ts'
import type { AppLogLine } from '../proxy/errors/app-log.ts'
import type { ErrorCode } from '../proxy/errors/codes.ts'
import type { LimitName } from '../proxy/limits.ts'
import { renderSeries } from '../proxy/observe/render.ts'
import { EdgeConfig } from './edge-config.ts'
import { EdgeLoads } from './edge-loads.ts'
import { EdgeOutlets } from './edge-outlets.ts'
import { type EdgeAnswers, serveEdgeSocket } from './edge-socket.ts'
import { EdgeWorkers } from './edge-workers.ts'
import { type FeedFollower, followFeedSocket } from './feed-socket-client.ts'
import { tellAlive } from './heartbeat.ts'
import { replayReplica } from './replica.ts'

/**
 * The edge process. Its workers carry the traffic; this thread loads the last replica, follows the
 * agent, hands every line on, and tells the holder that all of them are alive.
 */

/** An edge without any state waits so long for its agent before it accepts (and resets) anyway. */
const VIEW_WAIT_MS = 5_000
/** After the drain's own end. */
const DRAIN_SLACK_MS = 1_000

const config = EdgeConfig.parse(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')))
const outlets = new EdgeOutlets(config, (why) => console.error(why))
const viewLoaded = Promise.withResolvers<void>()

const loads = new EdgeLoads({
  host: config.host,
  post: (message) => workers.post(message),
  tell: (line) => feed.send(line),
  nowMs: () => performance.now(),
})
const workers: EdgeWorkers = new EdgeWorkers(config, loads.memory, {
  onApplied(revision) {
    if (revision > 0) viewLoaded.resolve()
    feed.send({ t: 'applied', revision })
  },
  onLog: (line) => feed.send({ t: 'log', line: logLine(line) }),
  onLoadChanged: () => loads.onChanged(),
  onForgotten: (turn) => loads.onForgotten(turn),
  onObserved: (batch, done) => outlets.take(batch, done),
  onFailed: (error) => fail(`a worker ended: ${messageOf(error)}`),
})
const feed: FeedFollower = followFeedSocket(config.feedSocket, {
  after: loadReplica(),
  onLine: (line) => loads.line(line),
  signal: new AbortController().signal,
})
feed.send({ t: 'hello', pid: process.pid })

process.on('SIGTERM', () => void drain())
process.on('SIGINT', () => void drain())
tellAlive(workers)
await start()

/**
 * The state of the last run: an edge serves without its agent, and without the control plane. Gives
 * the revision from which to follow.
 */
function loadReplica(): number {
  try {
    return replayReplica(config.replica, (line) => loads.line(line))
  } catch (error) {
    console.error(`the replica ${config.replica} cannot be read: ${messageOf(error)}`)
    return 0
  }
}

async function start(): Promise<void> {
  const waited = setTimeout(() => viewLoaded.resolve(), VIEW_WAIT_MS)
  await viewLoaded.promise
  clearTimeout(waited)
  try {
    await workers.listen()
  } catch (error) {
    fail(`cannot listen: ${messageOf(error)}`)
  }
  const answers: EdgeAnswers = { metrics, explain: (question) => workers.explain(question) }
  await serveEdgeSocket(config.metricsSocket, answers, noSocket).catch(noSocket)
  process.send?.({ t: 'ready' })
  keepCompiled()
}

/** It serves all the same. */
function noSocket(error: unknown): void {
  console.error(`no metrics: ${messageOf(error)}`)
}

async function metrics(): Promise<string> {
  const answers = await workers.metrics()
  const counters = answers.map((answer) => answer.counters)
  const count = (pairs: readonly (readonly [string, number])[], wanted: LimitName | ErrorCode) =>
    pairs.reduce((n, [name, hits]) => (name === wanted ? n + hits : n), 0)
  const limits = counters.flatMap((one) => one.limits)
  const errors = counters.flatMap((one) => one.errors)
  return (
    renderMetrics(counters) +
    outlets.metrics() +
    renderSeries({
      ...{ host: config.host, region: config.region, loads: loads.inFlight() },
      rows: answers.map(({ series }) => series),
      connectionsRefused: count(limits, 'connections') + count(errors, 'PL01'),
    })
  )
}

async function drain(): Promise<void> {
  setTimeout(() => process.exit(0), config.drainMs + DRAIN_SLACK_MS)
  await workers.drain()
  await outlets.close()
  process.exit(0)
}

function logLine(line: AppLogLine): LogLine {
  return {
    timestamp: isoTime(Date.now()),
    app: line.app,
    machine: line.machine,
    region: config.region,
    host: config.host,
    level: line.level,
    source: 'proxy',
    message: line.code === '' ? line.message : `[${line.code}] ${line.message}`,
  }
}

function fail(reason: string): never {
  console.error(reason)
  process.exit(1)
}
