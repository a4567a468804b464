import { FairwayError } from '../base/errors.ts'
import { canonicalIp } from '../base/ip.ts'
import { type Prices, readPrices } from './prices.ts'
import type { Session } from './session.ts'

/** Addresses of apps over GraphQL (flyctl-api 3.3). */
export interface GqlIp {
  readonly id: string
  readonly address: string
  readonly type: string
  readonly region: string
  readonly createdAt: string
  readonly serviceName?: string | null
  readonly network?: {
    readonly name: string
    readonly organization: { slug: string } | null
  } | null
}

export interface AppIps {
  readonly ips: readonly GqlIp[]
  readonly sharedV4: string | undefined
}

const IPS = `query($appName: String!) { app(name: $appName) {
  ipAddresses { nodes { id address type region createdAt network { name organization { slug } } serviceName } }
  sharedIpAddress } }`
const ALLOC_IP = `mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) {
  ipAddress { id address type region createdAt } } }`
const ALLOC_SHARED = `mutation($input: AllocateIPAddressInput!) { allocateIpAddress(input: $input) {
  app { sharedIpAddress } } }`
const RELEASE_IP = `mutation($input: ReleaseIPAddressInput!) { releaseIpAddress(input: $input) {
  revertedTo notRevertedReason } }`

export async function listIps(session: Session): Promise<AppIps> {
  const { app } = await session.client.graphql<{
    app: { ipAddresses: { nodes: readonly GqlIp[] }; sharedIpAddress: string | null }
  }>(IPS, { appName: session.app })
  return { ips: app.ipAddresses.nodes, sharedV4: app.sharedIpAddress || undefined }
}

export interface Allocation {
  readonly type: 'v4' | 'v6' | 'private_v6'
  readonly region?: string | undefined
  readonly organizationId?: string | undefined
  readonly network?: string | undefined
}

export async function allocateIp(session: Session, wanted: Allocation): Promise<GqlIp> {
  const input = { appId: session.app, ...wanted, region: wanted.region ?? '' }
  const { allocateIpAddress } = await session.client.graphql<{
    allocateIpAddress: { ipAddress: GqlIp }
  }>(ALLOC_IP, { input })
  return allocateIpAddress.ipAddress
}

export async function allocateShared(session: Session): Promise<string> {
  const input = { appId: session.app, type: 'shared_v4', region: '' }
  const { allocateIpAddress } = await session.client.graphql<{
    allocateIpAddress: { app: { sharedIpAddress: string } }
  }>(ALLOC_SHARED, { input })
  return allocateIpAddress.app.sharedIpAddress
}

/** What became of the app's IPv4 when it lost a dedicated address. */
export interface Reverted {
  /** The shared IPv4 that it got back. */
  readonly revertedTo?: string | null
  readonly notRevertedReason?: string | null
}

export async function releaseIp(session: Session, ip: string): Promise<Reverted> {
  const input = { appId: session.app, ipAddressId: null, ip }
  const { releaseIpAddress } = await session.client.graphql<{ releaseIpAddress: Reverted }>(
    RELEASE_IP,
    { input },
  )
  return releaseIpAddress
}

/** An address as the API writes it; `Invalid IP address` when it is none. */
export function checkIp(text: string): string {
  const ip = canonicalIp(text)
  if (ip) return ip
  throw new FairwayError(
    'bad_address',
    `Invalid IP address: '${text}'. \`fairway ips list\` shows those of the app.`,
  )
}

/** The Type column, with what the address costs. */
export function typeText(type: string, prices: Prices): string {
  const price = prices[type] ? `, ${prices[type]}` : ''
  if (type === 'v4' || type === 'v6') return `public ingress (dedicated${price})`
  if (type === 'shared_v4') return `public ingress (shared${price})`
  if (type === 'egress_v4' || type === 'egress_v6') {
    return prices[type] ? `egress (${prices[type]})` : 'egress'
  }
  return `private ingress${prices[type] ? ` (${prices[type]})` : ''}`
}

/** Says what a dedicated IPv4 costs and asks, before anything is bought. */
export async function confirmPurchase(session: Session, why = ''): Promise<void> {
  const price = (await readPrices(session)).v4
  const cost = price ? `costs ${price}` : 'costs nothing'
  if (session.options.yes) session.note(`A dedicated IPv4 address ${cost}.`)
  await session.confirm(`A dedicated IPv4 address ${cost}.${why} Allocate it for ${session.app}?`)
}
