import { createHash } from 'node:crypto'
import { isoTime } from '../base/clock.ts'
import { ulid } from '../base/ids.ts'
import { keys } from '../model/keys.ts'
import { platformAddresses } from '../model/platform.ts'
import type { Address, App } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { sharedAddresses } from './address-pools.ts'
import type { Control } from './context.ts'
import { put, type Read, transact } from './transact.ts'

/** Shared IPv4 addresses: each has one record, and its apps name it in `sharedV4`. */

/**
 * The one for this app: apps are spread over the pool by the hash of their name, so that an app
 * which gives its shared address back and asks again gets the same one (its DNS may still say so).
 */
export async function pickShared(
  control: Control,
  read: Read,
  app: App,
): Promise<Address | undefined> {
  const pool = sharedAddresses(control)
  const start = createHash('sha256').update(app.name).digest().readUInt32BE()
  for (let i = 0; i < pool.length; i++) {
    const address = pool[(start + i) % pool.length]!
    const record = await read.get<Address>(keys.address(address))
    if (!record) return newShared(control, address)
    // Not ours to share: it was given out before the configuration made it a shared one.
    if (record.state === 'shared') return record
  }
  return undefined
}

/** Writes the record unless it is there. */
export async function ensureSharedRecord(read: Read, record: Address): Promise<Op[]> {
  const known = await read.get<Address>(keys.address(record.address))
  return known ? [] : [put(keys.address(record.address), record)]
}

/** At start: edges know every shared address before an app has it, and the platform's own. */
export async function ensureSharedAddresses(control: Control): Promise<void> {
  for (const address of sharedAddresses(control)) {
    await ensureShared(control, newShared(control, address))
  }
  const { v6 } = platformAddresses(control.config.pools)
  if (v6 !== null) await ensureShared(control, newShared(control, v6, 'v6'))
}

const ensureShared = (control: Control, record: Address) =>
  transact(control, async (read) => ({
    ops: await ensureSharedRecord(read, record),
    result: null,
  }))

/** One of kind `v6` is the platform's own: no app is found there, only its services. */
function newShared(
  control: Control,
  address: string,
  kind: 'shared_v4' | 'v6' = 'shared_v4',
): Address {
  const nowMs = control.clock.now()
  return {
    id: `ip_${ulid(nowMs).toLowerCase()}`,
    address,
    kind,
    state: 'shared',
    org: null,
    app: null,
    network: null,
    region: 'global',
    serviceName: null,
    createdAt: isoTime(nowMs),
    quarantinedUntilMs: null,
  }
}
