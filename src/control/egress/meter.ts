import { isoTime } from '../../base/clock.ts'
import { invalid } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { EgressPair } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import { orgFor } from '../access.ts'
import type { Actor, Control } from '../context.ts'
import { del, put, type Read, readAll, readPage } from '../transact.ts'

/**
 * E8: egress addresses cost by the hour, idle ones too. Each address has an open interval from the
 * moment it is allocated, which its release closes; so the usage of any hour can be told without a
 * job that counts hours.
 */

export interface HeldInterval {
  readonly address: string
  readonly version: 4 | 6
  readonly region: string
  readonly app: string | null
  readonly fromMs: number
  /** Null: still held. */
  readonly toMs: number | null
}

export interface AddressUsage {
  readonly address: string
  readonly version: 4 | 6
  readonly region: string
  /** The last one that had it. */
  readonly app: string | null
  /** Hours of the clock, begun ones counted whole. */
  readonly hours: number
  /** Decimal text in `currency`. */
  readonly price: string
  readonly currency: string
}

const HOUR_MS = 3_600_000
/** A month's price is that of so many hours: 30 days. */
const HOURS_PER_MONTH = 720n
export const METER_KEPT_MS = 400 * 24 * HOUR_MS
export const METER_SPAN_MAX_MS = METER_KEPT_MS
const INTERVALS_READ_MAX = 200_000
/** Old intervals that a release takes along: as many as it adds at least, so that they do not pile up. */
const FORGOTTEN_PER_RELEASE = 4
const PRICE_DIGITS = 6

type Metered = Pick<EgressPair, 'org' | 'app' | 'regions'>

export const openMeter = (nowMs: number, pair: Metered, address: string): Op => {
  const { app, regions } = pair
  const version = address.includes(':') ? 6 : 4
  const interval: HeldInterval = {
    address,
    version,
    region: regions[0]!,
    app,
    fromMs: nowMs,
    toMs: null,
  }
  return put(keys.egressHeld(pair.org, address), interval)
}

/** Ends what `openMeter` began; without `next`, for good. */
export async function closeMeter(
  nowMs: number,
  read: Read,
  org: string,
  address: string,
  next?: Op,
): Promise<Op[]> {
  const key = keys.egressHeld(org, address)
  const held = await read.get<HeldInterval>(key)
  const ops = [next ?? del(key)]
  if (!held || held.fromMs >= nowMs) return ops
  const closed: HeldInterval = { ...held, toMs: nowMs }
  return [...ops, put(keys.egressWasHeld(org, nowMs, held.fromMs, address), closed)]
}

/** Deletes some intervals of the org that are older than anybody may ask for. */
export async function forgetOldIntervals(nowMs: number, read: Read, org: string): Promise<Op[]> {
  const prefix = `egress-was-held/${org}/`
  const { entries } = await read.range<HeldInterval>(prefix, { limit: FORGOTTEN_PER_RELEASE })
  return entries
    .filter(({ value }) => (value.toMs ?? nowMs) < nowMs - METER_KEPT_MS)
    .map(({ key }) => del(key))
}

/** Per address that the org held in [from, to): hours and price. Default: this month until now. */
export async function egressUsage(
  control: Control,
  actor: Actor,
  input: {
    readonly org: string
    readonly from?: string | undefined
    readonly to?: string | undefined
  },
): Promise<{ from: string; to: string; addresses: AddressUsage[] }> {
  const { slug } = await orgFor(control, actor, input.org)
  const nowMs = control.clock.now()
  const toMs = input.to === undefined ? nowMs : timeOf('to', input.to)
  const fromMs = input.from === undefined ? startOfMonth(toMs) : timeOf('from', input.from)
  if (fromMs >= toMs)
    throw invalid(`from: ${isoTime(fromMs)} is not before to, ${isoTime(toMs)}; exchange them`)
  if (toMs - fromMs > METER_SPAN_MAX_MS)
    throw invalid(
      `from: the span is longer than ${METER_SPAN_MAX_MS / HOUR_MS / 24} days; ask for less`,
    )
  const intervals = await intervalsOf(control, slug, fromMs)
  return {
    from: isoTime(fromMs),
    to: isoTime(toMs),
    addresses: usageOf(control, intervals, fromMs, Math.min(toMs, nowMs)),
  }
}

/** Those that are still open, and those that ended after `fromMs`. */
async function intervalsOf(control: Control, org: string, fromMs: number): Promise<HeldInterval[]> {
  const open = await readAll<HeldInterval>(control.store, `egress-held/${org}/`, INTERVALS_READ_MAX)
  const closed: HeldInterval[] = []
  const prefix = `egress-was-held/${org}/`
  let after = `${prefix}${String(fromMs).padStart(15, '0')}`
  for (;;) {
    const page = await readPage<HeldInterval>(control.store, prefix, { after })
    closed.push(...page.entries.map(({ value }) => value))
    if (!page.more || closed.length >= INTERVALS_READ_MAX) break
    after = page.entries.at(-1)!.key
  }
  return [...closed, ...open.map(({ value }) => value)]
}

function usageOf(
  { config }: Pick<Control, 'config'>,
  intervals: readonly HeldInterval[],
  fromMs: number,
  toMs: number,
): AddressUsage[] {
  const { currency, egressV4PerMonth, egressV6PerMonth } = config.prices
  const byAddress = Map.groupBy(intervals, (interval) => interval.address)
  const usage = [...byAddress.values()].map((held): AddressUsage => {
    const { address, version, region } = held[0]!
    const last = held.reduce((a, b) => (b.fromMs >= a.fromMs ? b : a))
    const hours = hoursOf(held, fromMs, toMs)
    const price = priceOf(hours, version === 4 ? egressV4PerMonth : egressV6PerMonth)
    return { address, version, region, app: last.app, hours, price, currency }
  })
  return usage.filter(({ hours }) => hours > 0).sort((a, b) => (a.address < b.address ? -1 : 1))
}

/** Hours of the clock in which one of the intervals was open; an hour in two of them is one. */
function hoursOf(intervals: readonly HeldInterval[], fromMs: number, toMs: number): number {
  const parts = intervals
    .map((one) => ({
      first: Math.floor(Math.max(one.fromMs, fromMs) / HOUR_MS),
      end: Math.ceil(Math.min(one.toMs ?? toMs, toMs) / HOUR_MS),
    }))
    .sort((a, b) => a.first - b.first)
  let hours = 0
  let counted = -Infinity
  for (const { first, end } of parts) {
    hours += Math.max(0, end - Math.max(first, counted))
    counted = Math.max(counted, end)
  }
  return hours
}

/** `hours` of a month's price, exactly, then rounded half up to PRICE_DIGITS. */
export function priceOf(hours: number, perMonth: string): string {
  const [whole = '0', fraction = ''] = perMonth.split('.')
  const scale = 10n ** BigInt(PRICE_DIGITS)
  const units = BigInt(whole + fraction.padEnd(PRICE_DIGITS, '0'))
  const total = (units * BigInt(hours) * 2n + HOURS_PER_MONTH) / (HOURS_PER_MONTH * 2n)
  return `${total / scale}.${String(total % scale).padStart(PRICE_DIGITS, '0')}`
}

function timeOf(field: string, text: string): number {
  const ms = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text)
  if (Number.isFinite(ms)) return ms
  throw invalid(`${field}: "${text}" is no time; use one such as 2026-01-31T00:00:00Z`)
}

const startOfMonth = (ms: number): number => {
  const date = new Date(ms)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth())
}
