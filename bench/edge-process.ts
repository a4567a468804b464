import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { TRAFFIC_MEMORY } from '../src/base/worker-memory.ts'
import { EdgeProxy } from '../src/proxy/edge-proxy.ts'
import { testView } from '../src/proxy/testing.ts'

/**
 * The edge as it is measured: one worker thread as in production, a view with one app, loopback.
 * usage: edge-process.ts PORT ORIGIN_PORT [inline]
 */
// Ends in order, so that --cpu-prof can write what it has seen.
process.once('SIGTERM', () => process.exit(0))
const [port, origin, mode] = process.argv.slice(2)

if (isMainThread && mode !== 'inline') {
  new Worker(new URL(import.meta.url), {
    workerData: { port, origin },
    argv: [port!, origin!],
    resourceLimits: TRAFFIC_MEMORY,
  })
} else {
  const { port: listenPort, origin: originPort } = workerData ?? { port, origin }
  const service = { port: 80, internalPort: Number(originPort), soft: 100_000 }
  const view = testView([
    { name: 'bench', addresses: ['203.0.113.5'], machines: [{ id: 'm1', services: [service] }] },
  ])
  const proxy = new EdgeProxy({
    view,
    ...{ host: 'iad1', region: 'iad', appsDomains: ['fairway.test'], backhaulPort: 4290 },
    onAppLog: (line) => console.error(line.message),
    destinationOf: () => ({ address: '203.0.113.5', port: 80 }),
  })
  await proxy.listen({ host: '127.0.0.1', port: Number(listenPort) })
  console.log('listening')
}
