import type { MachineConfig } from '../model/machine-config.ts'
import type { EgressUsage } from '../model/wire.ts'
import type { ApiMachine } from './api-types.ts'
import type { EgressIp, MachineCheck } from './egress-api.ts'
import { FakeApi, fakeMachine, Reply } from './testing.ts'
import { egressRoutes } from './testing-egress.ts'

/** State behind a FakeApi that behaves like one org with one app. */
export interface FakeState {
  app: { name: string; status: string } | undefined
  machines: ApiMachine[]
  ips: { ip: string; type: string; region: string; shared: boolean; created_at: string }[]
  readonly artifacts: Set<string>
  releases: { id: string; version: number; status: string; body: Record<string, unknown> }[]
  secrets: Record<string, string>
  egress: readonly EgressIp[]
  usage: readonly EgressUsage[]
  checks: readonly MachineCheck[]
}

const ORG = {
  id: 'org-1',
  slug: 'personal',
  rawSlug: 'personal',
  name: 'Personal',
  type: 'PERSONAL',
}
const CREATED = '2026-06-01T11:59:50Z'

/** A listening fake with app `hello` (or without any app when `app` is undefined). */
export async function fakeWorld(
  initial: Partial<FakeState> = {},
): Promise<{ api: FakeApi; state: FakeState }> {
  const state: FakeState = {
    app: { name: 'hello', status: 'deployed' },
    machines: [fakeMachine('m1')],
    ips: [
      { ip: '2001:db8:1::5', type: 'v6', region: 'global', shared: false, created_at: CREATED },
      { ip: '203.0.113.1', type: 'shared_v4', region: 'global', shared: true, created_at: CREATED },
    ],
    artifacts: new Set(),
    releases: [],
    secrets: {},
    egress: [],
    usage: [],
    checks: [],
    ...initial,
  }
  const api = new FakeApi()
  appRoutes(api, state)
  machineRoutes(api, state)
  releaseRoutes(api, state)
  graphqlRoutes(api, state)
  egressRoutes(api, state)
  return { api: await api.listen(), state }
}

const appObject = (state: FakeState) => ({
  id: 'app-1',
  name: state.app?.name,
  network: 'default',
  status: state.app?.status,
  organization: { slug: 'personal', name: 'Personal' },
})

function appRoutes(api: FakeApi, state: FakeState): void {
  api.on('POST /v1/apps', ({ body }) => {
    const { name } = body as { name: string }
    if (state.app?.name === name) {
      return new Reply(422, { error: 'Name has already been taken', status: 'name_taken' })
    }
    state.app = { name, status: 'pending' }
    return appObject(state)
  })
  api.on('GET /v1/apps/([^/]+)', (_, name) =>
    state.app?.name === name ? appObject(state) : new Reply(404, { error: 'Could not find App' }),
  )
  api.on('DELETE /v1/apps/([^/]+)', (_, name) => {
    if (state.app?.name !== name) return new Reply(404, { error: 'Could not find App' })
    state.app = undefined
    return {}
  })
  api.on('HEAD /v1/apps/[^/]+/artifacts/(.+)', (_, digest) =>
    state.artifacts.has(digest!) ? {} : new Reply(404, ''),
  )
  api.on('POST /v1/apps/[^/]+/artifacts', ({ query }) => {
    state.artifacts.add(query.digest!)
    return new Reply(201, { digest: query.digest })
  })
  api.on('GET /v1/apps/[^/]+/ip_assignments', () => ({ ips: state.ips }))
  api.on('POST /v1/apps/[^/]+/ip_assignments', ({ body }) => {
    const { type } = body as { type: string }
    const ip = type === 'v6' ? '2001:db8:1::9' : type === 'v4' ? '203.0.113.20' : '203.0.113.1'
    const made = { ip, type, region: 'global', shared: type === 'shared_v4', created_at: CREATED }
    state.ips.push(made)
    return made
  })
  api.on('GET /v1/apps/[^/]+/secrets', () => ({
    secrets: Object.keys(state.secrets).map((name) => ({
      name,
      digest: 'd1g3st',
      updated_at: CREATED,
    })),
  }))
  api.on('POST /v1/apps/[^/]+/secrets', ({ body }) => {
    for (const [name, value] of Object.entries((body as { values: object }).values)) {
      if (value === null) delete state.secrets[name]
      else state.secrets[name] = value as string
    }
    return { secrets: [], version: 7 }
  })
  api.on('GET /v1/platform/regions', () => ({
    Regions: [
      { code: 'iad', name: 'Ashburn, Virginia (US)', geo_region: 'north_america' },
      { code: 'lhr', name: 'London, United Kingdom', geo_region: 'europe' },
    ],
    Nearest: 'iad',
  }))
  api.on('GET /api/v1/prices', () => ({
    prices: [
      { kind: 'v4', perMonth: '2.00', currency: 'USD' },
      { kind: 'v6', perMonth: '0.00', currency: 'USD' },
      { kind: 'shared_v4', perMonth: '0.00', currency: 'USD' },
      { kind: 'private_v6', perMonth: '0.00', currency: 'USD' },
      { kind: 'egress_v4', perMonth: '3.60', currency: 'USD' },
      { kind: 'egress_v6', perMonth: '0.00', currency: 'USD' },
    ],
  }))
}

interface Launch {
  readonly config: MachineConfig
  readonly region?: string
  readonly skip_launch?: boolean
}

function machineRoutes(api: FakeApi, state: FakeState): void {
  const base = '/v1/apps/[^/]+/machines'
  const one = (id: string | undefined) => state.machines.find((m) => m.id === id)
  const change = (id: string | undefined, more: Partial<ApiMachine>) => {
    state.machines = state.machines.map((m) => (m.id === id ? { ...m, ...more } : m))
    return one(id)
  }
  const missing = () => new Reply(404, { error: 'machine not found' })
  let next = state.machines.length
  api.on(`GET ${base}`, () => state.machines)
  api.on(`POST ${base}`, ({ body }) => {
    const { config, region = 'iad', skip_launch: skip } = body as Launch
    next += 1
    const made = fakeMachine(`n${next}`, {
      config,
      region,
      state: skip ? 'created' : 'started',
    })
    state.machines.push(made)
    return made
  })
  api.on(`GET ${base}/([^/]+)`, (_, id) => one(id) ?? missing())
  api.on(`POST ${base}/([^/]+)`, ({ body }, id) =>
    change(id, { config: (body as Launch).config, instance_id: `next-${id}` }),
  )
  api.on(`DELETE ${base}/([^/]+)`, (_, id) => {
    if (!one(id)) return missing()
    state.machines = state.machines.filter((m) => m.id !== id)
    return { ok: true }
  })
  api.on(`POST ${base}/([^/]+)/lease`, (_, id) =>
    one(id) ? { status: 'success', data: { nonce: 'n0nce' } } : missing(),
  )
  api.on(`DELETE ${base}/([^/]+)/lease`, () => ({ ok: true }))
  api.on(`GET ${base}/([^/]+)/wait`, () => ({ ok: true }))
  api.on(`GET ${base}/([^/]+)/ps`, () => [])
  api.on(`DELETE ${base}/([^/]+)/metadata/([^/]+)`, (_, id, key) => {
    const { config } = one(id)!
    const { [key!]: _removed, ...metadata } = config.metadata ?? {}
    change(id, { config: { ...config, metadata } })
    return new Reply(204, '')
  })
  for (const [verb, next] of [
    ['start', 'started'],
    ['stop', 'stopped'],
    ['suspend', 'stopped'],
    ['restart', 'started'],
  ] as const) {
    api.on(`POST ${base}/([^/]+)/${verb}`, (_, id) => {
      if (!one(id)) return missing()
      change(id, { state: next })
      return { ok: true, status: 'success' }
    })
  }
  api.on(`POST ${base}/([^/]+)/(cordon|uncordon|signal)`, () => ({ ok: true }))
}

function releaseRoutes(api: FakeApi, state: FakeState): void {
  api.on('POST /api/v1/releases', ({ body }) => {
    const version = state.releases.length + 1
    const release = { id: `rel-${version}`, version, status: 'pending', body: body as never }
    state.releases.push(release)
    return { release: { id: release.id, version } }
  })
  api.on('PATCH /api/v1/releases/([^/]+)', ({ body }, id) => {
    const release = state.releases.find((r) => r.id === id)
    if (release) release.status = (body as { status: string }).status
    return {}
  })
}

function graphqlRoutes(api: FakeApi, state: FakeState): void {
  const gql = api.graphql
  const organization = { id: 'org-1', slug: 'personal', name: 'Personal', paidPlan: false }
  gql.viewer = () => ({ email: 'operator@fairway.test' })
  gql.organizations = () => ({ nodes: [ORG] })
  gql.organizationdetails = () => ({
    ...ORG,
    internalNumericId: '7',
    viewerRole: 'admin',
    members: {
      edges: [
        {
          node: { id: 'u1', name: 'Operator', email: 'operator@fairway.test' },
          joinedAt: CREATED,
          role: 'ADMIN',
        },
      ],
    },
  })
  gql.apps = () => ({
    pageInfo: { hasNextPage: false, endCursor: null },
    nodes: state.app
      ? [
          {
            ...state.app,
            id: 'app-1',
            deployed: true,
            hostname: `${state.app.name}.fairway.test`,
            platformVersion: 'machines',
            network: 'default',
            organization,
            currentRelease: { createdAt: CREATED, status: 'complete' },
          },
        ]
      : [],
  })
  gql.appcompact = () => ({
    id: 'app-1',
    name: state.app?.name,
    hostname: `${state.app?.name}.fairway.test`,
    deployed: true,
    network: 'default',
    status: state.app?.status,
    appUrl: null,
    platformVersion: 'machines',
    organization,
  })
  gql.app = () => appAnswer(state)
  gql.gqlmachine = ({ machineId }) => {
    const found = state.machines.some((machine) => machine.id === machineId)
    return found
      ? { id: machineId, app: { name: state.app?.name } }
      : new Error('Could not find Machine')
  }
  addressRoutes(api, state)
}

/** Every field that some operation asks of `app`; the client takes what it wants. */
function appAnswer(state: FakeState): unknown {
  if (!state.app) return new Error('Could not find App')
  const last = state.releases.at(-1)
  const release = {
    id: 'rel-1',
    version: 1,
    imageRef: `registry.fairway.test/hello@sha256:${'a'.repeat(64)}`,
    createdAt: '2026-06-01T11:59:55Z',
    configDefinition: last?.body.definition ?? { app: 'hello', env: { A: 'b' } },
  }
  return {
    ipAddresses: {
      nodes: state.ips
        .filter((ip) => !ip.shared)
        .map(({ ip, type, region, created_at: createdAt }) => ({
          id: `ip-${ip}`,
          address: ip,
          type,
          region,
          createdAt,
          network: null,
          serviceName: '',
        })),
    },
    sharedIpAddress: state.ips.find((ip) => ip.shared)?.ip ?? null,
    currentReleaseUnprocessed: release,
    releases: {
      nodes: [
        {
          ...release,
          description: 'Release',
          reason: '',
          status: 'complete',
          stable: true,
          user: { id: 'u1', email: 'operator@fairway.test', name: 'Operator' },
        },
      ],
    },
  }
}

function addressRoutes(api: FakeApi, state: FakeState): void {
  const gql = api.graphql
  const node = (address: string, type: string) => ({
    id: `ip-${address}`,
    address,
    type,
    region: 'global',
    createdAt: '2026-06-01T12:00:00Z',
  })
  gql.allocateIpAddress = ({ input }) => {
    const { type } = input as { type: string }
    const address = { v4: '203.0.113.20', v6: '2001:db8:1::9', private_v6: 'fdaa:0:1:0:1::2' }[type]
    if (address)
      state.ips.push({ ip: address, type, region: 'global', shared: false, created_at: '' })
    return address
      ? { ipAddress: node(address, type) }
      : { app: { sharedIpAddress: '203.0.113.1' } }
  }
  gql.releaseIpAddress = ({ input }) => {
    const { ip } = input as { ip: string }
    if (!state.ips.some((one) => one.ip === ip)) return new Error(`${ip} is not of app hello`)
    state.ips = state.ips.filter((one) => one.ip !== ip)
    return { revertedTo: '203.0.113.1', notRevertedReason: null }
  }
  gql.detachIpAddress = ({ input }) => ({
    app: { name: 'hello' },
    ipAddress: node((input as { ip: string }).ip, 'v4'),
    from: 'hello',
    edgesWaiting: [],
    revertedTo: '203.0.113.1',
    notRevertedReason: null,
  })
  gql.attachIpAddress = ({ input }) => ({
    app: { name: 'hello' },
    ipAddress: node((input as { ip: string }).ip, 'v4'),
    from: 'second',
    edgesWaiting: ['nrt1'],
    revertedTo: null,
    notRevertedReason: 'its services need a dedicated one',
  })
}
