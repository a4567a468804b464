import { keys } from '../model/keys.ts'
import type { Address, App, Endpoint } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { sharedVerdict } from './address-rules.ts'
import { ensureSharedRecord, pickShared } from './address-shared.ts'
import type { Control } from './context.ts'
import { quarantineOps } from './pool.ts'
import { del, put, type Read, readAll } from './transact.ts'

/** How an address leaves its app. */

const ENDPOINTS_READ_MAX = 20_000

/** What became of the app that an address left. */
export interface Departure {
  readonly app: App
  /** The shared IPv4 that the app got back because its last dedicated one is gone, or null. */
  readonly reverted: string | null
  /** Why it got none although it has no IPv4 left, or null. */
  readonly notReverted: string | null
}

/** Takes the address out of the indexes of whoever has it. */
export function detachOps(record: Address): Op[] {
  if (record.app !== null) return [del(keys.appAddress(record.app, record.kind, record.address))]
  if (record.org !== null) return [del(keys.parkedAddress(record.org, record.address))]
  return []
}

/** Ends an address: out of its indexes and into quarantine. */
export function releaseOps(control: Control, record: Address): Op[] {
  const untilMs = control.clock.now() + control.config.quarantineMs
  const released: Address = {
    ...record,
    state: 'quarantined',
    org: null,
    app: null,
    network: null,
    serviceName: null,
    quarantinedUntilMs: untilMs,
  }
  return [
    put(keys.address(record.address), released),
    ...detachOps(record),
    ...quarantineOps(record.kind, record.address, untilMs),
  ]
}

/**
 * What else changes when `record` leaves `app`: the count of dedicated addresses, and, when the last
 * one goes from an app that qualifies (I8), the return of a shared one.
 */
export async function departureOps(
  control: Control,
  read: Read,
  app: App,
  record: Address,
): Promise<{ ops: Op[]; departure: Departure }> {
  const stays = { app, reverted: null, notReverted: null }
  if (record.kind !== 'v4') return { ops: [], departure: stays }
  const left = ((await read.get<number>(keys.dedicatedCount(app.name))) ?? 1) - 1
  const count =
    left > 0 ? put(keys.dedicatedCount(app.name), left) : del(keys.dedicatedCount(app.name))
  if (left > 0 || app.sharedV4 !== null) return { ops: [count], departure: stays }
  const endpoints = await readAll<Endpoint>(
    control.store,
    `endpoint/${app.name}/`,
    ENDPOINTS_READ_MAX,
  )
  const verdict = sharedVerdict(endpoints.map((entry) => entry.value))
  if (!verdict.qualifies) {
    return { ops: [count], departure: { ...stays, notReverted: verdict.reason } }
  }
  const shared = await pickShared(control, read, app)
  if (!shared) {
    return { ops: [count], departure: { ...stays, notReverted: 'there is no shared IPv4' } }
  }
  const changed: App = { ...app, sharedV4: shared.address }
  return {
    ops: [count, put(keys.app(app.name), changed), ...(await ensureSharedRecord(read, shared))],
    departure: { app: changed, reverted: shared.address, notReverted: null },
  }
}
