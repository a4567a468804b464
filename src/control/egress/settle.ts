import { isoTime } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { EgressPair, Machine } from '../../model/resources.ts'
import type { Op } from '../../store/store.ts'
import type { AckedHost, Control } from '../context.ts'
import { del, inLane, put, type Read, readOne, readPage, transact } from '../transact.ts'
import { settledOn, withoutMachine } from './blocks.ts'
import { EditedPairs } from './edited-pairs.ts'
import type { Target } from './law.ts'
import {
  type AppEgress,
  changeLane,
  egressLane,
  isAtRest,
  machineEgress,
  readPairs,
  sameTarget,
  setOps,
  targetOf,
} from './records.ts'
import { releasePairOps } from './release-ops.ts'

/** The second phase of a change of egress. May be done again at any point. */

/** Records with their configs must fit a transaction. */
const MACHINES_PER_STEP = 24
const MACHINE_BYTES_PER_STEP = 512 * 1024
/** A release takes up to 12 operations of a transaction's 128. */
const PAIRS_PER_STEP = 8
const PENDING_RESUMED_MAX = 100

export interface Settled {
  /** Live hosts that were not at the change when the wait was over. */
  readonly waiting: readonly string[]
}

/** Finishes what the app's set says is to be done. Callers hold the app's change lane. */
export async function settleEgress(control: Control, app: string): Promise<Settled> {
  const set = await readOne<AppEgress>(control.store, keys.appEgress(app))
  if (!set || isAtRest(set)) return { waiting: [] }
  const steering = await waitForBlocks(control, set)
  const hosts = new Set<string>()
  let revision = 0
  for (;;) {
    const step = await moveSome(control, app)
    for (const host of step.result.hosts) hosts.add(host)
    revision = Math.max(revision, step.revision)
    if (!step.result.more) break
  }
  const moved = await waitAt(control, revision, (host) => hosts.has(host.id))
  while ((await releaseSome(control, app)).result);
  return { waiting: [...new Set([...steering.waiting, ...moved.waiting])] }
}

/** The same for callers that do not hold it. */
export const finishEgressMoves = (control: Control, app: string): Promise<Settled> =>
  inLane(control.store, changeLane(app), () => settleEgress(control, app))

/** Finishes the changes that a crash has interrupted; returns of how many apps. */
export async function resumeEgressChanges(control: Control): Promise<number> {
  const { entries } = await readPage<{ app: string }>(control.store, 'egress-pending/', {
    limit: PENDING_RESUMED_MAX,
  })
  for (const { value } of entries) {
    const { app } = value
    try {
      await inLane(control.store, changeLane(app), () => resume(control, app))
    } catch (error) {
      control.log.warn({ app, error: messageOf(error) }, 'a change of egress is not finished yet')
    }
  }
  return entries.length
}

async function resume(control: Control, app: string): Promise<void> {
  await settleEgress(control, app)
  await tidyEgress(control, app)
}

/** Takes away what is left at rest: the mark of a change that was refused, and a set without pairs. */
export async function tidyEgress(control: Control, app: string): Promise<void> {
  await transact(control, async (read) => {
    const set = await read.get<AppEgress>(keys.appEgress(app))
    if (!(await read.get(keys.egressPending(app))) || (set && !isAtRest(set)))
      return { ops: [], result: undefined }
    const isEmpty = set?.pairs.length === 0
    const ops = [del(keys.egressPending(app)), ...(isEmpty ? [del(keys.appEgress(app))] : [])]
    return { ops, result: undefined }
  })
}

/** Until the hosts that return traffic may enter at know the new blocks. */
async function waitForBlocks(control: Control, set: AppEgress): Promise<{ waiting: string[] }> {
  const ids = new Set(Object.values(set.moves).flatMap((target) => (target ? [target.pair] : [])))
  const kvs = await Promise.all([...ids].map((id) => control.store.get(keys.egress(id))))
  const regions = new Set<string>()
  let revision = 0
  for (const kv of kvs) {
    if (!kv) continue
    revision = Math.max(revision, kv.modRevision)
    for (const region of (JSON.parse(kv.value) as EgressPair).regions) regions.add(region)
  }
  return waitAt(control, revision, (host) => regions.has(host.region))
}

const waitAt = (control: Control, revision: number, concerns: (host: AckedHost) => boolean) =>
  control.egressAcks.waitFor(revision, control.config.attachWaitMs, concerns)

/** Rewrites the records of some machines, and turns the blocks that they have left to draining. */
async function moveSome(control: Control, app: string) {
  return transact(
    control,
    async (read) => {
      const set = await read.get<AppEgress>(keys.appEgress(app))
      const all = Object.entries(set?.moves ?? {})
      if (!set || all.length === 0)
        return { ops: [], result: { hosts: [] as string[], more: false } }
      const pairs = new EditedPairs(read, app)
      const ops: Op[] = []
      const hosts: string[] = []
      let bytes = 0
      let done = 0
      for (const [id, target] of all) {
        if (done >= MACHINES_PER_STEP || bytes >= MACHINE_BYTES_PER_STEP) break
        done += 1
        const written = await moveOne(read, pairs, id, target)
        if (!written) continue
        ops.push(written.op)
        hosts.push(written.host)
        bytes += 'value' in written.op ? written.op.value.length : 0
      }
      const moves = Object.fromEntries(all.slice(done))
      ops.push(...pairs.ops(isoTime(control.clock.now())), ...setOps(app, set, { ...set, moves }))
      return { ops, result: { hosts, more: done < all.length } }
    },
    { lane: egressLane(app) },
  )
}

async function moveOne(
  read: Read,
  pairs: EditedPairs,
  id: string,
  target: Target | null,
): Promise<{ op: Op; host: string } | undefined> {
  const at = await read.peek<{ host: string }>(keys.machineId(id))
  const machine = at && (await read.get<Machine>(keys.machine(at.host, id)))
  if (!machine) {
    // It went before it was moved.
    if (target) await pairs.edit(target.pair, (blocks) => withoutMachine(blocks, id))
    return undefined
  }
  const old = machine.egress?.pair
  for (const pair of new Set([old, target?.pair])) {
    if (pair === undefined) continue
    const run = target?.pair === pair ? target : null
    await pairs.edit(pair, (blocks) => settledOn(blocks, id, run))
  }
  const next = machineEgress(target, (pair) => pairs.get(pair))
  if (
    sameTarget(targetOf(machine), target) &&
    JSON.stringify(next) === JSON.stringify(machine.egress)
  )
    return undefined
  return {
    op: put(keys.machine(machine.host, id), { ...machine, egress: next }),
    host: machine.host,
  }
}

/** Takes away pairs that no machine is to use any more. True while there may be more. */
async function releaseSome(control: Control, app: string) {
  return transact(
    control,
    async (read) => {
      const set = await read.get<AppEgress>(keys.appEgress(app))
      if (!set || set.releasing.length === 0 || Object.keys(set.moves).length > 0)
        return { ops: [], result: false }
      const ids = new Set(set.releasing.slice(0, PAIRS_PER_STEP))
      const pairs = await readPairs(read, [...ids])
      const after: AppEgress = {
        ...set,
        pairs: set.pairs.filter((id) => !ids.has(id)),
        releasing: set.releasing.filter((id) => !ids.has(id)),
      }
      const ops = [...(await releasePairOps(control, read, pairs)), ...setOps(app, set, after)]
      return { ops, result: after.releasing.length > 0 }
    },
    { lane: egressLane(app) },
  )
}
