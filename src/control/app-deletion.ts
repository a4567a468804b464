import { keys } from '../model/keys.ts'
import type { Address } from '../model/resources.ts'
import type { Op } from '../store/store.ts'
import { releaseOps } from './address-release.ts'
import { forgetSomeOfDeleted } from './artifacts.ts'
import type { Control } from './context.ts'
import { releaseSomeOfDeleted } from './egress/release.ts'
import { destroyMachinesOf } from './machines/actions.ts'
import type { AppIdentity } from './machines/records.ts'
import { del, type Read, readOne, readPage, transact } from './transact.ts'

/** The rest of an app's deletion, in steps that may be done again after a crash. */

export interface DeletingApp extends AppIdentity {
  readonly since: string
}

/** An address takes 3 operations and 2 compares of a transaction's 128. */
const ADDRESSES_PER_STEP = 32
const KEYS_PER_STEP = 100
const DELETIONS_RESUMED_MAX = 100

export async function finishDeletion(control: Control, name: string): Promise<void> {
  const app = await readOne<DeletingApp>(control.store, keys.appDeleting(name))
  if (!app) return
  // Since the app is gone nobody can make a machine of it; this finds those made until then.
  await destroyMachinesOf(control, app, (read) => isGoingOn(read, name))
  while (await step(control, name, (read) => releaseSome(control, read, name)));
  while (await releaseSomeOfDeleted(control, name));
  while (await forgetSomeOfDeleted(control, name));
  for (const prefix of [`secrets-version/${name}/`, `release/${name}/`]) {
    while (await step(control, name, (read) => deleteSome(read, prefix)));
  }
  await step(control, name, async () => [
    del(keys.secrets(name)),
    del(keys.releaseHead(name)),
    del(keys.dedicatedCount(name)),
    del(keys.appDeleting(name)),
  ])
}

/** Finishes deletions that a crash has interrupted: at start, and now and then. One that fails holds up no other. */
export async function resumeDeletions(control: Control): Promise<number> {
  const { entries } = await readPage<DeletingApp>(control.store, 'app-deleting/', {
    limit: DELETIONS_RESUMED_MAX,
  })
  let failure: unknown
  for (const { value } of entries)
    await finishDeletion(control, value.name).catch((error) => {
      failure ??= error
    })
  if (failure) throw failure
  return entries.length
}

/** While it is so, nobody can make an app of the same name and be robbed by the deletion. */
const isGoingOn = async (read: Read, name: string): Promise<boolean> =>
  (await read.get(keys.appDeleting(name))) !== undefined

/** True while there is more to do. */
async function step(
  control: Control,
  name: string,
  plan: (read: Read) => Promise<Op[]>,
): Promise<boolean> {
  const { result } = await transact(control, async (read) => {
    if (!(await isGoingOn(read, name))) return { ops: [], result: false }
    const ops = await plan(read)
    return { ops, result: ops.length > 0 }
  })
  return result
}

async function releaseSome(control: Control, read: Read, name: string): Promise<Op[]> {
  const { entries } = await read.range(`app-address/${name}/`, { limit: ADDRESSES_PER_STEP })
  const ops: Op[] = []
  for (const { key } of entries) {
    const address = key.slice(key.lastIndexOf('/') + 1)
    const record = await read.get<Address>(keys.address(address))
    if (record?.app === name) ops.push(...releaseOps(control, record))
    else if (await read.get(key)) ops.push(del(key))
  }
  return ops
}

async function deleteSome(read: Read, prefix: string): Promise<Op[]> {
  const { entries } = await read.range<{ id?: string }>(prefix, { limit: KEYS_PER_STEP / 2 })
  return entries.flatMap(({ key, value }) =>
    prefix.startsWith('release/') && value.id
      ? [del(key), del(keys.releaseId(value.id))]
      : [del(key)],
  )
}
