import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { keepCompiled } from '../base/compiled.ts'
import { faultLog } from '../base/faults.ts'
import type { FeedLine } from '../model/wire.ts'
import { LoadTable } from '../proxy/balance/loads.ts'
import { EdgeProxy } from '../proxy/edge-proxy.ts'
import { EdgeIndex } from '../view/edge-index.ts'
import type { FromWorker, ToWorker, WorkerData } from './edge-messages.ts'

/** One worker of the edge: a view of its own, one of the listening sockets, one event loop. */

const BACKHAUL_RETRY_MS = 250

const data = workerData as WorkerData
const port = parentPort!
const say = (message: FromWorker) => port.postMessage(message)

const view = new EdgeIndex()
const loads = new LoadTable({
  memory: data.loads,
  worker: data.worker,
  onChanged: () => say({ t: 'load-changed' }),
})
const proxy = new EdgeProxy({
  view,
  host: data.host,
  region: data.region,
  appsDomains: data.appsDomains,
  backhaulPort: data.backhaulPort,
  onAppLog: (line) => say({ t: 'log', line }),
  loads,
  rates: data.rates,
  onReleased: (app) => say({ t: 'released', app }),
  observe: data.observe,
  onObserved: (batch) => say({ t: 'observed', batch }),
  onFault: faultLog(console.error),
})
let draining = false

port.on('message', (message: ToWorker) => {
  switch (message.t) {
    case 'line':
      apply(message.line)
      break
    case 'listen':
      void listen()
      break
    case 'ping':
      say({ t: 'pong' })
      break
    case 'metrics':
      tellMetrics(message.id)
      break
    case 'load-slots':
      for (const [machine, slots] of message.slots) loads.assign(machine, slots)
      break
    case 'forget':
      for (const machine of message.machines) loads.forget(machine)
      say({ t: 'forgotten', turn: message.turn })
      break
    case 'explain':
      say({ t: 'explained', id: message.id, answer: proxy.explain(message.question) })
      break
    case 'observed':
      proxy.observed(message.bytes)
      break
    case 'wake':
      proxy.wake(message.app)
      break
    case 'drain':
      void drain()
  }
})

function apply(line: FeedLine): void {
  for (const app of view.apply(line)) proxy.changed(app)
  if (line.t === 'events' || line.t === 'synced') say({ t: 'applied', revision: view.revision })
}

/** The numbers go over without a copy of their own. */
function tellMetrics(id: number): void {
  const series = proxy.series()
  const answer = { counters: proxy.snapshot(), series }
  port.postMessage({ t: 'metrics', id, answer } satisfies FromWorker, [series.values.buffer])
}

async function listen(): Promise<void> {
  void listenBackhaul()
  await proxy.listen({ fd: data.listenFd })
  say({ t: 'listening' })
  keepCompiled()
}

/** The mesh comes up with the agent, maybe after us. An edge that is being replaced has it too. */
async function listenBackhaul(): Promise<void> {
  while (!draining) {
    try {
      const on = { host: data.meshAddress, port: data.backhaulPort, reusePort: true }
      await proxy.listenBackhaul(on)
      return
    } catch {
      await delay(BACKHAUL_RETRY_MS)
    }
  }
}

async function drain(): Promise<void> {
  if (draining) return
  draining = true
  await proxy.drain(data.drainMs)
  say({ t: 'drained' })
}
