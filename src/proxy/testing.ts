import type { Address, App, Endpoint, EndpointService, Region } from '../model/resources.ts'
import type { ServiceOptions } from '../model/service-options.ts'
import type { FeedEvent } from '../model/wire.ts'
import { EdgeIndex } from '../view/edge-index.ts'

/** Builders for tests and benchmarks: a view from a few words. */

const REGIONS: readonly Region[] = (
  [
    ['iad', 'Ashburn, Virginia (US)', 'north_america'],
    ['yyz', 'Toronto, Canada', 'north_america'],
    ['lhr', 'London, United Kingdom', 'europe'],
    ['nrt', 'Tokyo, Japan', 'asia_pacific'],
  ] as const
).map(([code, name, geoRegion]) => ({
  ...{ code, name, geoRegion, latitude: 0, longitude: 0, distancesMs: {} },
}))

const CREATED = '2026-01-01T00:00:00Z'

export interface TestMachine {
  readonly id: string
  readonly host?: string
  readonly region?: string
  readonly v4?: string
  readonly state?: string
  readonly cordoned?: boolean
  readonly release?: number
  readonly services: readonly TestService[]
}

export interface TestService {
  readonly port: number
  readonly internalPort: number
  readonly handlers?: EndpointService['ports'][number]['handlers']
  readonly forceHttps?: boolean
  readonly httpOptions?: Record<string, unknown>
  readonly proxyProtoVersion?: 'v1' | 'v2'
  readonly type?: 'connections' | 'requests'
  readonly soft?: number
  readonly hard?: number | null
  readonly load?: 0 | 1 | 2
  readonly healthy?: boolean
  readonly upSinceMs?: number
  readonly options?: ServiceOptions
}

export interface TestApp {
  readonly name: string
  readonly addresses?: readonly string[]
  readonly sharedV4?: string
  readonly releaseSplit?: App['releaseSplit']
  readonly machines: readonly TestMachine[]
}

export interface TestHost {
  readonly id: string
  readonly region: string
  readonly index: number
  readonly live?: boolean
}

export function testService(service: TestService): EndpointService {
  return {
    protocol: 'tcp',
    internalPort: service.internalPort,
    ports: [
      {
        start: service.port,
        end: service.port,
        handlers: service.handlers ?? ['http'],
        forceHttps: service.forceHttps ?? false,
        httpOptions: service.httpOptions ?? null,
        tlsOptions: null,
        proxyProtoVersion: service.proxyProtoVersion ?? 'v1',
      },
    ],
    concurrency: {
      type: service.type ?? 'requests',
      soft: service.soft ?? 20,
      hard: service.hard ?? null,
    },
    autostart: false,
    load: service.load ?? 0,
    healthy: service.healthy ?? true,
    upSinceMs: service.upSinceMs ?? null,
    options: service.options ?? null,
  }
}

export const testEndpoint = (app: string, machine: TestMachine): Endpoint => ({
  machine: machine.id,
  app,
  host: machine.host ?? 'iad1',
  region: machine.region ?? 'iad',
  group: 'app',
  release: machine.release ?? null,
  v4: machine.v4 ?? '127.0.0.1',
  v6: 'fdaa:0:1:a7b:1:0:1:2',
  state: machine.state ?? 'started',
  cordoned: machine.cordoned ?? false,
  services: machine.services.map(testService),
})

/** What the store would hold of these apps, hosts and shared addresses. */
export function testEntries(
  apps: readonly TestApp[],
  hosts: readonly TestHost[] = [{ id: 'iad1', region: 'iad', index: 1 }],
  shared: readonly string[] = [],
): [string, unknown][] {
  const entries: [string, unknown][] = []
  for (const region of REGIONS) entries.push([`region/${region.code}`, region])
  for (const { live = true, ...host } of hosts) {
    const underlay = { underlayV4: '192.0.2.1', underlayV6: '2001:db8::1', meshPublicKey: null }
    entries.push([`host/${host.id}`, { ...host, ...underlay }])
    if (live) entries.push([`host-live/${host.id}`, { id: host.id, since: CREATED }])
  }
  for (const address of shared) entries.push([`address/${address}`, testAddress(address, null)])
  for (const [i, app] of apps.entries()) entries.push(...appEntries(app, i + 1))
  return entries
}

/** The view of that; more lines may be applied to it. */
export function testView(...entries: Parameters<typeof testEntries>): EdgeIndex {
  const index = new EdgeIndex()
  const events = testEntries(...entries).map(([key, value]): FeedEvent => ['put', key, value, 1])
  index.apply({ t: 'snapshot' })
  index.apply({ t: 'events', revision: 1, events })
  index.apply({ t: 'synced', revision: 1 })
  return index
}

function appEntries(app: TestApp, n: number): [string, unknown][] {
  const record: App = {
    ...{ id: `app-${n}`, numericId: n, name: app.name, org: 'personal', network: 'default' },
    ...{ networkId: 1, sharedV4: app.sharedV4 ?? null, status: 'deployed', createdAt: CREATED },
    releaseSplit: app.releaseSplit ?? null,
  }
  return [
    [`app/${app.name}`, record],
    ...(app.addresses ?? []).map((address): [string, unknown] => [
      `address/${address}`,
      testAddress(address, app.name),
    ]),
    ...app.machines.map((machine): [string, unknown] => [
      `endpoint/${app.name}/${machine.id}`,
      testEndpoint(app.name, machine),
    ]),
  ]
}

const testAddress = (address: string, app: string | null): Address => ({
  id: `ip-${address}`,
  address,
  kind: app === null ? 'shared_v4' : address.includes(':') ? 'v6' : 'v4',
  state: app === null ? 'shared' : 'attached',
  org: app === null ? null : 'personal',
  app,
  network: null,
  region: 'global',
  serviceName: null,
  createdAt: CREATED,
  quarantinedUntilMs: null,
})
