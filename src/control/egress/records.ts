import { conflict, FairwayError } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { App, EgressPair, Endpoint, Machine, MachineEgress } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import type { Control } from '../context.ts'
import { del, put, type Read, readAll } from '../transact.ts'
import { type Seat, seatOf, type Target } from './law.ts'

/**
 * An app's egress in the store. Whatever changes one of its pairs also writes `app-egress/<app>`, and
 * whatever decides by them compares it: so one key orders all changes of an app's egress, machines
 * that are made included, and pairs can be read without comparing each.
 */

export interface AppEgress {
  /** Ids. */
  readonly pairs: readonly string[]
  /**
   * Machines that are to send from elsewhere: their new block is in its pair already, their record
   * still names the old one. Null: to the default egress.
   */
  readonly moves: Readonly<Record<string, Target | null>>
  /** Pairs that go when the moves are done. */
  readonly releasing: readonly string[]
}

/** Value of `egress-address` keys. */
export interface EgressAddress {
  readonly state: 'held' | 'quarantined'
  readonly pair: string | null
  readonly app: string | null
  readonly org: string | null
}

export const PAIRS_PER_APP_MAX = 128
const SEATS_MAX = 20_000

export interface AppView {
  readonly app: App
  readonly set: AppEgress
  readonly pairs: readonly EgressPair[]
}

/** Single transactions of an app's egress run one after the other; so do whole changes of it. */
export const egressLane = (app: string): string => `egress/${app}`
export const changeLane = (app: string): string => `egress-change/${app}`

const EMPTY: AppEgress = { pairs: [], moves: {}, releasing: [] }

/** The plan holds only while nothing of the app's egress has changed. */
export async function readView(read: Read, app: App): Promise<AppView> {
  const set = (await read.get<AppEgress>(keys.appEgress(app.name))) ?? EMPTY
  return { app, set, pairs: await readPairs(read, set.pairs) }
}

export async function readPairs(
  read: Pick<Read, 'peek'>,
  ids: readonly string[],
): Promise<EgressPair[]> {
  const pairs = await Promise.all(ids.map((id) => read.peek<EgressPair>(keys.egress(id))))
  return pairs.filter((pair) => pair !== undefined)
}

/** The app's machines, without those that are being destroyed: they keep what they have, and go. */
export async function readSeats({ store }: Pick<Control, 'store'>, app: string): Promise<Seat[]> {
  const endpoints = await readAll<Endpoint>(store, `endpoint/${app}/`, SEATS_MAX)
  return endpoints
    .filter(({ value }) => value.state !== 'destroying' && value.state !== 'destroyed')
    .map(({ value }) => seatOf(value))
}

export const isAtRest = (set: AppEgress): boolean =>
  Object.keys(set.moves).length === 0 && set.releasing.length === 0

/** Writes the set. One that says nothing goes; one that is not at rest can be found again. */
export function setOps(app: string, before: AppEgress, after: AppEgress): Op[] {
  const key = keys.appEgress(app)
  const rest = isAtRest(after)
  const pending = rest
    ? isAtRest(before)
      ? []
      : [del(keys.egressPending(app))]
    : [put(keys.egressPending(app), { app })]
  const isEmpty = rest && after.pairs.length === 0
  return [isEmpty ? del(key) : put(key, after), ...pending]
}

/** What a machine's record says when it sends from `target`. */
export function machineEgress(
  target: Target | null,
  pairOf: (id: string) => EgressPair | undefined,
): MachineEgress | null {
  const pair = target && pairOf(target.pair)
  if (!target || !pair) return null
  return { pair: pair.id, v4: pair.v4, v6: pair.v6, slot: target.slot, count: target.count }
}

export const sameTarget = (a: Target | null, b: Target | null): boolean =>
  a?.pair === b?.pair && a?.slot === b?.slot && a?.count === b?.count

export const targetOf = ({ egress }: Machine): Target | null =>
  egress && { pair: egress.pair, slot: egress.slot, count: egress.count }

/** For messages. */
export const nameOf = ({ v4, v6 }: Pick<EgressPair, 'v4' | 'v6'>): string =>
  [v4, v6].filter((address) => address !== null).join(' and ')

export function refuseTooManyPairs(app: string, count: number): void {
  if (count <= PAIRS_PER_APP_MAX) return
  throw new FairwayError(
    'too_many',
    `app "${app}" would have ${count} pairs of egress addresses; at most ${PAIRS_PER_APP_MAX}, release some first`,
  )
}

export const underChange = (app: string): FairwayError =>
  conflict(`the egress addresses of app "${app}" are being changed; try again in a second`)
