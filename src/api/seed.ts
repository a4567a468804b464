import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FairwayError } from '../base/errors.ts'
import { ensureSharedAddresses } from '../control/address-shared.ts'
import type { Control } from '../control/context.ts'
import { ensureOrg } from '../control/orgs.ts'
import { createToken } from '../control/tokens.ts'
import { del, put, readAll, transact } from '../control/transact.ts'
import { keys } from '../model/keys.ts'
import { HOST_INDEX_MAX, type Host, type Region } from '../model/resources.ts'

/** Brings what the configuration says into the store, at every start. */

const REGIONS_MAX = 1_000
export const FIRST_ORG = 'personal'
const FIRST_USER = { id: 'user-1', email: 'operator@fairway.internal', name: 'Operator' }

export async function seed(control: Control): Promise<void> {
  await seedRegions(control)
  await seedHosts(control)
  // Edges know the shared addresses before the first app has one.
  await ensureSharedAddresses(control)
  await ensureOrg(control, { slug: FIRST_ORG, name: 'Personal', type: 'PERSONAL' })
}

async function seedRegions({ config, ...control }: Control): Promise<void> {
  const stored = await readAll<Region>(control.store, 'region/', REGIONS_MAX)
  for (const region of config.regions) {
    await transact(control, async (read) => {
      const key = keys.region(region.code)
      const same = JSON.stringify(await read.get<Region>(key)) === JSON.stringify(region)
      return { ops: same ? [] : [put(key, region)], result: null }
    })
  }
  const wanted = new Set(config.regions.map((region) => region.code))
  for (const { key, value } of stored) {
    if (wanted.has(value.code)) continue
    await control.store.txn({ then: [del(key)] })
  }
}

/**
 * A host's index is part of addresses that were given out, so it can neither change nor go to another
 * host. A host that is not configured any more stays known: its machines are still there.
 */
async function seedHosts(control: Control): Promise<void> {
  const stored = await readAll<Host>(control.store, 'host/', HOST_INDEX_MAX)
  const byIndex = new Map(stored.map(({ value }) => [value.index, value.id]))
  for (const configured of control.config.hosts) {
    const owner = byIndex.get(configured.index) ?? configured.id
    if (owner !== configured.id) throw badIndex(configured.id, configured.index, owner)
    byIndex.set(configured.index, configured.id)
    await transact(control, async (read) => {
      const key = keys.host(configured.id)
      const known = await read.get<Host>(key)
      if (known && known.index !== configured.index)
        throw badIndex(configured.id, configured.index, configured.id)
      const host: Host = { ...configured, meshPublicKey: known?.meshPublicKey ?? null }
      const same = JSON.stringify(known) === JSON.stringify(host)
      return { ops: same ? [] : [put(key, host)], result: null }
    })
  }
  const configured = new Set(control.config.hosts.map((host) => host.id))
  for (const { value } of stored) {
    if (!configured.has(value.id)) control.log.warn({ host: value.id }, 'host is not configured')
  }
}

const badIndex = (host: string, index: number, owner: string): FairwayError =>
  new FairwayError(
    'bad_config',
    `hosts: host "${host}" has index ${index}, which the store has for "${owner}"; an index never changes, give "${host}" its own`,
  )

/** The operator's first token, in `<stateDir>/token` (0600); made when the file is not there. */
export async function ensureToken(control: Control): Promise<string> {
  const path = join(control.config.stateDir, 'token')
  if (existsSync(path)) return path
  const { token } = await createToken(control, {
    name: 'first',
    user: FIRST_USER,
    orgs: [FIRST_ORG],
  })
  writeFileSync(`${path}.new`, `${token}\n`, { mode: 0o600 })
  renameSync(`${path}.new`, path)
  return path
}
