import { EdgeProxy } from '../src/proxy/edge-proxy.ts'
import { testView } from '../src/proxy/testing.ts'
import type { EdgeView } from '../src/view/edge-view.ts'

/**
 * The edge under test, in a process of its own: what kills it shows. One public port for each app, and
 * another edge behind for those whose machine is on another host.
 *
 * Parent to child: the apps. Child to parent: their public ports, in order; then, when asked, counts.
 */
export interface EdgeApp {
  readonly name: string
  /** Where the app listens. */
  readonly port: number
  /** Reached through the edge of another host. */
  readonly far: boolean
  /** Connections to it are kept for other requests. */
  readonly pooled: boolean
}

const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'nrt1', region: 'nrt', index: 2 },
]
const SOFT = 100_000
const PUBLIC_PORT = 80

const addressOf = (n: number) => `203.0.113.${n + 1}`

function viewOf(apps: readonly EdgeApp[]): EdgeView {
  const view = testView(
    apps.map(({ name, port, far, pooled }, n) => ({
      name,
      addresses: [addressOf(n)],
      machines: [
        {
          ...{ id: `m${n}`, host: far ? 'nrt1' : 'iad1', region: far ? 'nrt' : 'iad' },
          services: [
            {
              ...{ port: PUBLIC_PORT, internalPort: port, soft: SOFT },
              type: pooled ? 'requests' : 'connections',
            },
          ],
        },
      ],
    })),
    HOSTS,
  )
  return {
    ...{ revision: view.revision, distanceMs: () => 0, explainGrants: () => [] },
    address: (address) => view.address(address),
    app: (name) => view.app(name),
    region: (code) => view.region(code),
    // The other host's edge is reached over loopback, not over the mesh.
    host: (id) => {
      const host = view.host(id)
      return host && { ...host, meshAddress: '127.0.0.1' }
    },
  }
}

async function serve(apps: readonly EdgeApp[]): Promise<void> {
  const view = viewOf(apps)
  const common = { view, appsDomains: ['fairway.test'], onAppLog: () => {} }
  const far = new EdgeProxy({ ...common, host: 'nrt1', region: 'nrt', backhaulPort: 1 })
  const backhaul = await far.listenBackhaul({ host: '127.0.0.1', port: 0 })
  const appOf = new Map<number, number>()
  const near = new EdgeProxy({
    ...{ ...common, host: 'iad1', region: 'iad', backhaulPort: backhaul.port },
    destinationOf: ({ localPort }) => ({
      address: addressOf(appOf.get(localPort!)!),
      port: PUBLIC_PORT,
    }),
  })
  const ports: number[] = []
  for (const n of apps.keys()) {
    const { port } = await near.listen({ host: '127.0.0.1', port: 0 })
    appOf.set(port, n)
    ports.push(port)
  }
  process.on('message', () => {
    const open = near.open + near.snapshot().gauges.upstream_connections_open!
    process.send!({ open, residentMb: Math.round(process.memoryUsage.rss() / 2 ** 20) })
  })
  process.send!({ ports })
}

process.on('disconnect', () => process.exit())
process.once('message', (apps: EdgeApp[]) => void serve(apps))
