import { FairwayError } from '../base/errors.ts'
import type { EgressCheck, EgressUsage } from '../model/wire.ts'
import type { ApiMachineEgress } from './api-types.ts'
import { checkIp } from './ips.ts'
import type { Session } from './session.ts'

/**
 * The API's calls about egress, below /api/v1/apps/<app>. Answers as the API gives them, keys in its
 * own spelling. Errors: ApiError with the API's code and text.
 */

/** Adjacent slots of 1,024 ports that a machine sends from. */
export interface EgressHolder {
  /** Null: a host's outbound proxy. */
  readonly id: string | null
  readonly slot: number
  readonly count: number
  readonly host: string
  readonly state: 'use' | 'drain'
}

export type EgressPin = { readonly group: string } | { readonly machine: string }

/** One address; the v4 and the v6 of a pair are two of these with the same id. */
export interface EgressIp {
  readonly id: string
  readonly ip: string
  readonly version: number
  /** The home region; `regions` begins with it. */
  readonly region: string
  readonly regions: readonly string[]
  /** The machine whose own it is (E9); null when it is the app's. */
  readonly machine_id: string | null
  readonly pin: EgressPin | null
  readonly state: 'active' | 'draining'
  readonly machines: readonly EgressHolder[]
  readonly blocks_used: number
  readonly blocks_total: number
  readonly created_at: string
  readonly updated_at: string
  /** Decimal text. */
  readonly price_per_month: string
}

export interface EgressWish {
  readonly region: string
  /** How many pairs. */
  readonly count?: number
  readonly regions?: readonly string[]
  readonly pin?: EgressPin
}

export interface EgressChange {
  readonly pin?: EgressPin | null
  readonly regions?: readonly string[]
  readonly draining?: boolean
}

export interface MachinePair {
  readonly v4: string | null
  readonly v6: string | null
}

/** What a change did beside what was asked for. */
export interface EgressEffects {
  /** Ids of machines that send from elsewhere now, and those of them that have no static address. */
  readonly machines_moved: readonly string[]
  readonly machines_to_default: readonly string[]
  /** Live hosts that had not brought the change in force when the API stopped waiting. */
  readonly waiting: readonly string[]
}

export interface EgressChanged extends EgressEffects {
  /** The addresses that were asked for, as they are now. */
  readonly egress_ips: readonly EgressIp[]
}

export const egressPath = (session: Session, ...segments: readonly string[]): string =>
  ['/api/v1/apps', ...[session.app, ...segments].map(encodeURIComponent)].join('/')

export async function listEgress(session: Session): Promise<readonly EgressIp[]> {
  const path = egressPath(session, 'egress_ips')
  return (await session.client.get<{ egress_ips: readonly EgressIp[] }>(path)).egress_ips
}

/** One address of the app with its pair; `egress_not_found` when the app does not have it. */
export async function findEgress(session: Session, text: string): Promise<EgressIp> {
  const ip = checkIp(text)
  const rows = await listEgress(session)
  const found = rows.find((row) => row.ip === ip)
  if (found) return found
  const theirs = [...new Set(rows.map((row) => row.ip))].join(', ') || 'none'
  throw new FairwayError(
    'egress_not_found',
    `${ip} is not an egress address of ${session.app}, which has: ${theirs}. ` +
      'Name one of them, or the right app with -a.',
  )
}

export const allocateEgress = (session: Session, wish: EgressWish): Promise<EgressChanged> =>
  session.client.post(egressPath(session, 'egress_ips'), wish)

export const changeEgress = (
  session: Session,
  ip: string,
  body: EgressChange,
): Promise<EgressChanged> =>
  session.client.request('PATCH', egressPath(session, 'egress_ips', ip), { body })

export const releaseEgress = (session: Session, ip: string): Promise<EgressEffects> =>
  session.client.request('DELETE', egressPath(session, 'egress_ips', ip))

export const promoteEgress = (session: Session, ip: string): Promise<EgressChanged> =>
  session.client.post(egressPath(session, 'egress_ips', ip, 'promote'))

export const moveEgress = (
  session: Session,
  ip: string,
  to: { readonly app: string } | { readonly machine: string },
): Promise<EgressChanged> => session.client.post(egressPath(session, 'egress_ips', ip, 'move'), to)

export interface BlocksSet {
  readonly machine_id: string
  readonly egress: ApiMachineEgress | null
  readonly waiting: readonly string[]
}

export const setBlocks = (session: Session, machine: string, count: number): Promise<BlocksSet> =>
  session.client.post(egressPath(session, 'machines', machine, 'egress_blocks'), { count })

const ALLOC_EGRESS = `mutation($input: AllocateEgressIPAddressInput!) {
  allocateEgressIpAddress(input: $input) { v4 v6 } }`
const RELEASE_EGRESS = `mutation($input: ReleaseEgressIPAddressInput!) {
  releaseEgressIpAddress(input: $input) { v4 v6 } }`

/** A pair of the machine's own (E9); GraphQL is where clients ask for it. */
export async function allocateForMachine(session: Session, machineId: string) {
  const input = { appId: session.app, machineId, region: '' }
  const { allocateEgressIpAddress } = await session.client.graphql<{
    allocateEgressIpAddress: MachinePair
  }>(ALLOC_EGRESS, { input })
  return allocateEgressIpAddress
}

/** What the machine had. */
export async function releaseOfMachine(session: Session, machineId: string) {
  const input = { appId: session.app, machineId, ip: '' }
  const { releaseEgressIpAddress } = await session.client.graphql<{
    releaseEgressIpAddress: MachinePair
  }>(RELEASE_EGRESS, { input })
  return releaseEgressIpAddress
}

export interface UsageAnswer {
  readonly usage: readonly EgressUsage[]
  readonly hosts_silent: readonly { readonly host: string; readonly error: string }[]
}

/** What hosts saw of the app's machines with static addresses. */
export const readUsage = (session: Session): Promise<UsageAnswer> =>
  session.client.get(egressPath(session, 'egress_usage'))

export interface CheckWish {
  readonly host: string
  readonly port: number
  /** One machine; else each that runs. */
  readonly machine?: string
}

/** One machine's connections, or why its host made none. */
export type MachineCheck = Pick<EgressCheck, 'machine' | 'region'> &
  (
    | Pick<EgressCheck, 'results'>
    | { readonly results?: never; readonly error: string | { readonly message: string } }
  )

export interface CheckAnswer {
  readonly checks: readonly MachineCheck[]
  /** Machines beyond the API's limit. */
  readonly machines_skipped: number
}

/** Has connections opened from machines; a destination that does not answer takes seconds. */
export const checkEgress = (session: Session, wish: CheckWish): Promise<CheckAnswer> =>
  session.client.post(egressPath(session, 'egress_check'), wish)

/** Hours of the clock, begun ones counted whole, that addresses of an org were held in a span. */
export interface Metering {
  readonly from: string
  readonly to: string
  readonly addresses: readonly {
    readonly address: string
    readonly version: number
    readonly region: string
    readonly app: string | null
    readonly hours: number
    /** Decimal text in `currency`. */
    readonly price: string
    readonly currency: string
  }[]
}

export const readMetering = (
  session: Session,
  org: string,
  span: { readonly from: string | undefined; readonly to: string | undefined },
): Promise<Metering> =>
  session.client.get<Metering>(`/api/v1/orgs/${encodeURIComponent(org)}/egress_metering`, span)
