import type { EdgeView, PortRoute } from '../../view/edge-view.ts'
import { type TestMachine, type TestService, testView } from '../testing.ts'
import { type Balancer, type ClaimOptions, isRefusal } from './balancer.ts'
import { nearestBalancer } from './nearest.ts'

/** A balancer on a host in iad, for tests: machines of five hosts in three regions, and a clock. */

export const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'iad2', region: 'iad', index: 2 },
  { id: 'lhr1', region: 'lhr', index: 3 },
  { id: 'nrt1', region: 'nrt', index: 4 },
  { id: 'nrt2', region: 'nrt', index: 5, live: false },
]
export const DISTANCES: Readonly<Record<string, number>> = { 'iad lhr': 75, 'iad nrt': 160 }

export const machine = (
  id: string,
  host: string,
  service: Partial<TestService> = {},
  rest: Partial<TestMachine> = {},
): TestMachine => ({
  ...{ id, host, region: host.slice(0, 3), ...rest },
  services: [{ port: 80, internalPort: 8080, soft: 2, ...service }],
})

export function setUp(machines: TestMachine[], random = () => 0) {
  const index = testView([{ name: 'hello', machines }], HOSTS)
  const view: EdgeView = {
    revision: 1,
    address: (address) => index.address(address),
    app: (name) => index.app(name),
    host: (id) => index.host(id),
    region: (code) => index.region(code),
    explainGrants: () => [],
    distanceMs: (a, b) => (a === b ? 0 : (DISTANCES[`${a} ${b}`] ?? 1e6)),
  }
  const route = view.app('hello')!.port('tcp', 80)!
  const clock = { now: 0 }
  const balancer = nearestBalancer({
    ...{ host: 'iad1', region: 'iad', view, random, now: () => clock.now },
  })
  return { balancer, route, clock, view, index }
}

export const claim = (
  balancer: Balancer,
  route: PortRoute,
  exclude: string[] = [],
  machine?: string,
  more: Partial<ClaimOptions> = {},
) => balancer.claim(route, { exclude: new Set(exclude), machine: machine ?? null, ...more })
export const idOf = (claimed: ReturnType<Balancer['claim']>) =>
  isRefusal(claimed) ? claimed.refused : claimed.candidate.endpoint.machine
