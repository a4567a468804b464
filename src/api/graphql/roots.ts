import { FairwayError, invalid, notFound } from '../../base/errors.ts'
import {
  allocateAddress,
  attachV4,
  detachV4,
  listAddresses,
  type Moved,
  releaseAddress,
} from '../../control/addresses.ts'
import { getApp, pageApps } from '../../control/apps.ts'
import { allocateEgress, allocateMachineEgress } from '../../control/egress/allocate.ts'
import { releaseEgress, releaseMachineEgress } from '../../control/egress/release.ts'
import { findMachineApp, getMachine } from '../../control/machines/query.ts'
import { machineNotFound } from '../../control/machines/records.ts'
import { getOrg, listOrgs } from '../../control/orgs.ts'
import { allPrices } from '../../control/prices.ts'
import { setReleaseSplit } from '../../control/release-split.ts'
import { setSecrets } from '../../control/secrets.ts'
import type { Address, App, ReleaseShare } from '../../model/resources.ts'
import { connection, type GraphqlContext } from './context.ts'
import {
  addressNode,
  appNode,
  machineNode,
  organizationNode,
  regionNode,
  userNode,
} from './nodes.ts'
import { noneYetMutations } from './none-yet.ts'

/** The fields of Query and Mutation. Inputs are as the schema has checked them. */

const APPS_PAGE_DEFAULT = 200
const APPS_PAGE_MAX = 500

interface AppsArguments {
  readonly first?: number | null
  readonly after?: string | null
  readonly organizationId?: string | null
}
interface Input<T> {
  readonly input: T & { readonly clientMutationId?: string | null }
}
interface AllocateIp {
  readonly appId: string
  readonly type: Address['kind']
  readonly region?: string | null
  readonly organizationId?: string | null
  readonly network?: string | null
  readonly serviceName?: string | null
}
interface ReleaseIp {
  readonly appId: string
  readonly ipAddressId?: string | null
  readonly ip?: string | null
}

interface EgressIp {
  readonly appId: string
  /** Clients send an empty text for what is not given. */
  readonly machineId?: string | null
  readonly region?: string | null
  readonly ip?: string | null
}
interface SetSecrets {
  readonly appId: string
  readonly secrets: readonly { readonly key: string; readonly value: string }[]
  readonly replaceAll?: boolean | null
}
const MACHINE_SCOPED_NOTICE =
  'egress addresses of a single machine are deprecated: they go when it goes; allocate one for the app, and pin it if need be'

export function queryRoot(context: GraphqlContext) {
  const { control, actor } = context
  const { regions } = control.config
  return {
    viewer: () => userNode(context),
    organizations: async () => {
      const orgs = await listOrgs(control, actor)
      return connection(orgs.map((org) => organizationNode(context, org)))
    },
    organization: async ({ slug }: { slug: string }) =>
      organizationNode(context, await getOrg(control, actor, slug)),
    platform: () => ({
      requestRegion: regions[0]?.code ?? null,
      regions: regions.map(regionNode),
      ipAddressPrices: allPrices(control).map(({ kind, perMonth, currency }) => ({
        type: kind,
        perMonth,
        currency,
      })),
    }),
    // Where a client is nearest to is for the edges to say; this is where a machine goes by default.
    nearestRegion: () => nullable(regions[0] && regionNode(regions[0])),
    apps: async ({ first, after, organizationId }: AppsArguments) => {
      const limit = Math.min(Math.max(first ?? APPS_PAGE_DEFAULT, 1), APPS_PAGE_MAX)
      const page = await pageApps(control, actor, {
        org: organizationId ?? null,
        after: after ?? null,
        limit,
      })
      return connection(
        page.apps.map((app) => appNode(context, app)),
        page,
      )
    },
    app: async ({ name }: { name: string }) => appNode(context, await getApp(control, actor, name)),
    machine: async ({ machineId }: { machineId: string }) => {
      const app = await machineApp(context, machineId)
      const seen = await getMachine(control, actor, { app: app.name, machine: machineId })
      return machineNode(context, app, seen)
    },
    // Clients take this text as: there is nothing to compare the image with.
    latestImageDetails: () => Promise.reject(notFound('Unknown repository')),
  }
}

export function mutationRoot(context: GraphqlContext) {
  const { control, actor } = context
  return {
    allocateIpAddress: async ({ input }: Input<AllocateIp>) => {
      const { address, app } = await allocateAddress(control, actor, {
        app: input.appId,
        kind: input.type,
        region: input.region ?? null,
        network: input.network ?? null,
        org: input.organizationId ?? null,
        serviceName: input.serviceName ?? null,
      })
      return {
        app: appNode(context, app),
        ipAddress: addressNode(context, address),
        clientMutationId: input.clientMutationId ?? null,
      }
    },
    releaseIpAddress: async ({ input }: Input<ReleaseIp>) => {
      const address = input.ip || (await addressById(context, input))
      const released = await releaseAddress(control, actor, { app: input.appId, address })
      return {
        app: appNode(context, released.app),
        revertedTo: released.reverted,
        notRevertedReason: released.notReverted,
        clientMutationId: input.clientMutationId ?? null,
      }
    },
    allocateEgressIpAddress: async ({ input }: Input<EgressIp>) => {
      const { appId: app, machineId: machine, region } = input
      const { result, waiting } = machine
        ? await allocateMachineEgress(control, actor, { app, machine })
        : await allocateEgress(control, actor, { app, region: region ?? null })
      return {
        v4: result[0]!.v4,
        v6: result[0]!.v6,
        hostsWaiting: waiting,
        notice: machine ? MACHINE_SCOPED_NOTICE : null,
        clientMutationId: input.clientMutationId ?? null,
      }
    },
    releaseEgressIpAddress: async ({ input }: Input<EgressIp>) => {
      const { appId: app, machineId: machine, ip } = input
      if (!machine && !ip)
        throw invalid('ip, machineId: name the address to release, or its machine')
      const { result, waiting } = machine
        ? await releaseMachineEgress(control, actor, { app, machine })
        : await releaseEgress(control, actor, { app, address: ip! })
      return { ...result, hostsWaiting: waiting, clientMutationId: input.clientMutationId ?? null }
    },
    setReleaseSplit: async ({ input }: Input<{ appId: string; shares: ReleaseShare[] }>) => {
      const { appId, shares, clientMutationId = null } = input
      const app = await setReleaseSplit(control, actor, { app: appId, shares })
      return { app: appNode(context, app), clientMutationId }
    },
    detachIpAddress: async ({ input }: Input<{ appId: string; ip?: string | null }>) => {
      const moved = await detachV4(control, actor, { app: input.appId, address: input.ip ?? null })
      return movePayload(context, moved, input.clientMutationId)
    },
    attachIpAddress: async ({ input }: Input<{ appId: string; ip: string }>) => {
      const moved = await attachV4(control, actor, { app: input.appId, address: input.ip })
      return movePayload(context, moved, input.clientMutationId)
    },
    setSecrets: async ({ input }: Input<SetSecrets>) => {
      const values = Object.fromEntries(input.secrets.map(({ key, value }) => [key, value]))
      const replaceAll = input.replaceAll ?? false
      await setSecrets(control, actor, { app: input.appId, values, replaceAll })
      return secretsPayload(context, input)
    },
    unsetSecrets: async ({ input }: Input<{ appId: string; keys: readonly string[] }>) => {
      const values = Object.fromEntries(input.keys.map((key) => [key, null]))
      await setSecrets(control, actor, { app: input.appId, values })
      return secretsPayload(context, input)
    },
    ...noneYetMutations(context),
  }
}

const secretsPayload = async (
  context: GraphqlContext,
  input: { readonly appId: string; readonly clientMutationId?: string | null },
) => ({
  app: appNode(context, await getApp(context.control, context.actor, input.appId)),
  release: null,
  clientMutationId: input.clientMutationId ?? null,
})

const movePayload = (context: GraphqlContext, moved: Moved, clientMutationId?: string | null) => ({
  app: appNode(context, moved.app),
  ipAddress: addressNode(context, moved.address),
  from: moved.from,
  edgesWaiting: moved.waiting,
  revertedTo: moved.reverted,
  notRevertedReason: moved.notReverted,
  clientMutationId: clientMutationId ?? null,
})

async function addressById(context: GraphqlContext, input: ReleaseIp): Promise<string> {
  const id = input.ipAddressId
  if (!id) throw new FairwayError('invalid', 'ip is missing: name the address to release')
  const addresses = await listAddresses(context.control, context.actor, input.appId)
  const found = addresses.find((address) => address.id === id)
  if (found) return found.address
  throw notFound(`app "${input.appId}" has no address with the id "${id}"`)
}

/** Somebody else's machine does not exist, like somebody else's app. */
async function machineApp({ control, actor }: GraphqlContext, id: string): Promise<App> {
  const app = /^[0-9a-f]{1,32}$/.test(id)
    ? await findMachineApp(control, actor, id).catch(() => undefined)
    : undefined
  if (app) return app
  throw machineNotFound(id)
}

const nullable = <T>(value: T | undefined): T | null => value ?? null
