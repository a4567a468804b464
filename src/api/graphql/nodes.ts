import { FairwayError, notFound } from '../../base/errors.ts'
import { listAddresses, listParked } from '../../control/addresses.ts'
import { artifactOf } from '../../control/artifacts.ts'
import { egressRows, listEgress } from '../../control/egress/list.ts'
import { parseImage } from '../../control/machines/image.ts'
import { endpointServices } from '../../control/machines/ports.ts'
import { listMachines, type SeenMachine } from '../../control/machines/query.ts'
import { shownState } from '../../control/machines/state.ts'
import { DEFAULT_NETWORK } from '../../control/networks.ts'
import { priceOf } from '../../control/prices.ts'
import { currentRelease, listReleases } from '../../control/releases.ts'
import { listSecrets } from '../../control/secrets.ts'
import type {
  Address,
  App,
  EgressPair,
  EndpointService,
  Org,
  Region,
  Release,
} from '../../model/resources.ts'
import { connection, type GraphqlContext } from './context.ts'
import { appHasNone, organizationHasNone } from './none-yet.ts'

/**
 * The schema's objects. Values are plain; what costs a look-up is a function, which the executor
 * calls only when the query asks for the field.
 */

export const PLATFORM_VERSION = 'machines'
const RELEASES_DEFAULT = 25

export function appNode(context: GraphqlContext, app: App) {
  const { control, actor } = context
  const hostname = `${app.name}.${control.config.appsDomains[0]}`
  const machines = once(() => listMachines(control, actor, { app: app.name }))
  const egress = once(() => listEgress(control, actor, app.name))
  const current = once(() => currentRelease(control, actor, app.name))
  const release = async () => nullable(await current(), (found) => releaseNode(found))
  const releases = async ({ first }: { first?: number | null }) => {
    const limit = first ?? RELEASES_DEFAULT
    const found = await listReleases(control, actor, { app: app.name, limit })
    return connection(found.map(releaseNode))
  }
  return {
    // Clients take this for the name, and send it back as `appId`.
    id: app.name,
    internalNumericId: app.numericId,
    name: app.name,
    hostname,
    appUrl: `http://${hostname}/`,
    cnameTarget: hostname,
    deployed: app.status !== 'pending',
    status: app.status,
    version: async () => (await current())?.version ?? 0,
    platformVersion: PLATFORM_VERSION,
    network: app.network === DEFAULT_NETWORK ? null : app.network,
    organization: async () => organizationNode(context, await context.org(app.org)),
    role: null,
    config: async () => ({ definition: (await current())?.definition ?? null }),
    currentRelease: release,
    currentReleaseUnprocessed: release,
    releases,
    releasesUnprocessed: releases,
    releaseSplit: app.releaseSplit ?? [],
    imageDetails: async () => nullable(await current(), ({ image }) => imageVersion(image, app)),
    image: ({ ref }: { ref: string }) => imageNode(context, app, ref),
    services: async () => serviceNodes(await machines()),
    ipAddresses: async () => {
      const addresses = await listAddresses(control, actor, app.name)
      // Clients add the shared one themselves, from sharedIpAddress.
      const own = addresses.filter((address) => address.kind !== 'shared_v4')
      return connection(own.map((address) => addressNode(context, address)))
    },
    sharedIpAddress: app.sharedV4,
    egressIpAddresses: async () => {
      const shared = (await egress()).filter((pair) => pair.machine === null)
      return connection(shared.flatMap((pair) => egressNodes(context, pair)))
    },
    machines: async () => {
      const found = await machines()
      return connection(found.map((machine) => machineNode(context, app, machine, egress)))
    },
    secrets: async () => {
      const { secrets } = await listSecrets(control, actor, app.name)
      return secrets.map(({ name, digest, createdAt }) => ({ id: name, name, digest, createdAt }))
    },
    allocations: [],
    hostIssues: connection([]),
    ...appHasNone,
  }
}

export function organizationNode(context: GraphqlContext, org: Org) {
  const user = userNode(context)
  const member = { cursor: '0', node: user, joinedAt: org.createdAt, role: 'ADMIN' }
  return {
    ...organizationRef(org),
    internalNumericId: String(org.numericId),
    type: org.type,
    paidPlan: false,
    billable: true,
    viewerRole: 'admin',
    remoteBuilderImage: null,
    remoteBuilderApp: null,
    members: { nodes: [user], edges: [member], totalCount: 1 },
    addOns: connection([]),
    ...organizationHasNone,
    parkedIpAddresses: async () => {
      const parked = await listParked(context.control, context.actor, org.slug)
      return connection(parked.map((address) => addressNode(context, address)))
    },
  }
}

const organizationRef = ({ id, slug, name }: Org) => ({ id, slug, rawSlug: slug, name })

export const userNode = ({ actor }: GraphqlContext) => ({
  __typename: 'User',
  ...actor.token.user,
  enablePaidHobby: false,
})

export const regionNode = ({ code, name, latitude, longitude }: Region) => ({
  code,
  name,
  latitude,
  longitude,
  gatewayAvailable: false,
  requiresPaidPlan: false,
  deprecated: false,
})

export function addressNode({ control }: GraphqlContext, record: Address) {
  const { perMonth, currency } = priceOf(control, record.kind)
  const { network, org } = record
  return {
    id: record.id,
    address: record.address,
    type: record.kind,
    region: record.region,
    createdAt: record.createdAt,
    network: network && org ? { name: network, organization: { slug: org } } : null,
    serviceName: record.serviceName,
    pricePerMonth: perMonth,
    currency,
  }
}

const egressNodes = ({ control }: GraphqlContext, pair: EgressPair) =>
  egressRows(control, pair).map(({ id, ip, version, region, updated_at }) => ({
    id: `${id}-v${version}`,
    ip,
    version,
    region,
    updatedAt: updated_at,
  }))

export function releaseNode(release: Release) {
  return {
    id: release.id,
    version: release.version,
    status: release.status,
    description: release.description,
    reason: '',
    stable: release.status === 'complete',
    inProgress: release.status === 'pending' || release.status === 'running',
    imageRef: release.image,
    evaluationId: '',
    configDefinition: release.definition,
    deploymentStrategy: release.strategy.toUpperCase(),
    user: { ...release.user, enablePaidHobby: false },
    createdAt: release.createdAt,
  }
}

export function machineNode(
  context: GraphqlContext,
  app: App,
  { machine, status }: SeenMachine,
  egress = () => listEgress(context.control, context.actor, app.name),
) {
  const ip = { family: 'v6', kind: 'privatenet', ip: machine.v6, maskSize: 112 }
  return {
    id: machine.id,
    name: machine.name,
    state: shownState(machine, status),
    region: machine.region,
    instanceId: machine.instanceId,
    config: machine.config,
    createdAt: machine.createdAt,
    updatedAt: [machine.updatedAt, status.updatedAt].sort()[1]!,
    app: {
      id: app.name,
      name: app.name,
      organization: async () => organizationRef(await context.org(app.org)),
    },
    host: { id: machine.host },
    ips: connection([ip]),
    // Its own alone, which it can promote; what it shares with others is its app's.
    egressIpAddresses: async () => {
      const own = (await egress()).filter((pair) => pair.machine === machine.id)
      return connection(own.flatMap((pair) => egressNodes(context, pair)))
    },
  }
}

async function imageNode({ control }: GraphqlContext, app: App, ref: string) {
  const { digestHex } = parseImage(ref, app.name)
  const artifact = await artifactOf(control, app.name, digestHex)
  if (!artifact) {
    throw notFound(`could not find image "${ref}": app "${app.name}" has no such artifact`)
  }
  return {
    id: `img_${digestHex.slice(0, 26)}`,
    ref,
    digest: `sha256:${digestHex}`,
    compressedSizeFull: String(artifact.size),
    manifest: null,
  }
}

/** Of a release that named something else than an artifact nothing is known. */
function imageVersion(image: string, app: App) {
  try {
    const { registry, repository, tag, digestHex } = parseImage(image, app.name)
    return { registry, repository, tag, version: '', digest: `sha256:${digestHex}` }
  } catch (error) {
    if (error instanceof FairwayError) return null
    throw error
  }
}

/** What the app's machines expose, each service once. */
function serviceNodes(machines: readonly SeenMachine[]) {
  const seen = new Map<string, ReturnType<typeof serviceNode>>()
  for (const { machine } of machines) {
    for (const service of endpointServices(machine.config.services)) {
      const node = serviceNode(service)
      seen.set(JSON.stringify(node), node)
    }
  }
  return [...seen.values()]
}

const serviceNode = ({ protocol, internalPort, ports }: EndpointService) => ({
  description: `${protocol} ${internalPort}`,
  protocol,
  internalPort,
  ports: ports.map(({ start, end, handlers }) => ({
    port: start === end ? start : null,
    startPort: start,
    endPort: end,
    handlers,
  })),
})

/** Several fields of one object come from the same look-up. */
function once<T>(look: () => Promise<T>): () => Promise<T> {
  let found: Promise<T> | undefined
  return () => {
    found ??= look()
    return found
  }
}

const nullable = <T, R>(value: T | undefined, map: (value: T) => R): R | null =>
  value === undefined ? null : map(value)
