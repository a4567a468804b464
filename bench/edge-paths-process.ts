import { EdgeProxy } from '../src/proxy/edge-proxy.ts'
import { testView } from '../src/proxy/testing.ts'
import type { EdgeView } from '../src/view/edge-view.ts'

/**
 * An edge as the benchmark of paths needs it: `near` accepts the public and has one app on its own host,
 * one on the other host, and one that speaks WebSocket; `far` is the other host's edge.
 *
 * usage: edge-paths-process.ts near|far ORIGIN_PORT WS_PORT BACKHAUL_PORT [PORT of each app ...]
 */
process.once('SIGTERM', () => process.exit(0))
const [role, ...ports] = process.argv.slice(2)
const [origin, ws, backhaulPort, ...publicPorts] = ports.map(Number) as [number, number, number]

const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'nrt1', region: 'nrt', index: 2 },
]
const APPS = [
  { name: 'near', host: 'iad1', region: 'iad', internalPort: origin },
  { name: 'far', host: 'nrt1', region: 'nrt', internalPort: origin },
  { name: 'ws', host: 'iad1', region: 'iad', internalPort: ws },
]
const addressOf = (n: number) => `203.0.113.${n + 1}`

const view = testView(
  APPS.map(({ name, host, region, internalPort }, n) => ({
    ...{ name, addresses: [addressOf(n)] },
    machines: [
      { id: `m${n}`, host, region, services: [{ port: 80, internalPort, soft: 100_000 }] },
    ],
  })),
  HOSTS,
)
/** The other edge is reached over loopback, not over the mesh. */
const loopback: EdgeView = {
  ...{ revision: view.revision, distanceMs: () => 0, explainGrants: () => [] },
  address: (address) => view.address(address),
  app: (name) => view.app(name),
  region: (code) => view.region(code),
  host: (id) => {
    const host = view.host(id)
    return host && { ...host, meshAddress: '127.0.0.1' }
  },
}
const common = { view: loopback, appsDomains: ['fairway.test'], onAppLog: () => {} }

if (role === 'far') {
  const far = new EdgeProxy({ ...common, host: 'nrt1', region: 'nrt', backhaulPort: 1 })
  await far.listenBackhaul({ host: '127.0.0.1', port: backhaulPort })
} else {
  const near = new EdgeProxy({
    ...{ ...common, host: 'iad1', region: 'iad', backhaulPort },
    destinationOf: ({ localPort }) => ({
      address: addressOf((publicPorts as number[]).indexOf(localPort!)),
      port: 80,
    }),
  })
  for (const port of publicPorts as number[]) await near.listen({ host: '127.0.0.1', port })
}
console.log('listening')
