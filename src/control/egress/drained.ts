import { isoTime } from '../../base/clock.ts'
import { messageOf } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { EgressBlock, EgressPair } from '../../model/resources.ts'
import type { HostReport } from '../../model/wire.ts'
import type { Control } from '../context.ts'
import { put, readOne, transact } from '../transact.ts'
import { type AppEgress, egressLane } from './records.ts'

/** Frees blocks whose last flow has ended, as their hosts report. */

/**
 * `host` is who really sent it: blocks of other hosts, and those in use, are left alone. A report
 * that fails is sent again.
 */
export async function freeDrained(
  control: Control,
  host: string,
  drained: HostReport['egressDrained'],
): Promise<void> {
  for (const [id, named] of Map.groupBy(drained, ({ pair }) => pair)) {
    const slots = new Set(named.map(({ slot }) => slot))
    const isFree = (block: EgressBlock) =>
      block.state === 'drain' && block.host === host && slots.has(block.slot)
    try {
      await freeBlocks(control, id, isFree)
    } catch (error) {
      control.log.warn({ host, pair: id, error: messageOf(error) }, 'drained blocks not freed yet')
    }
  }
}

async function freeBlocks(
  control: Control,
  id: string,
  isFree: (block: EgressBlock) => boolean,
): Promise<void> {
  const key = keys.egress(id)
  const known = await readOne<EgressPair>(control.store, key)
  // Hosts repeat themselves until they see the change.
  if (!known?.blocks.some(isFree)) return
  const lane = known.app === null ? {} : { lane: egressLane(known.app) }
  await transact(
    control,
    async (read) => {
      const pair = await read.get<EgressPair>(key)
      if (!pair?.blocks.some(isFree)) return { ops: [], result: undefined }
      const blocks = pair.blocks.filter((block) => !isFree(block))
      const updatedAt = isoTime(control.clock.now())
      const set =
        pair.app === null ? undefined : await read.get<AppEgress>(keys.appEgress(pair.app))
      const bump = set && pair.app !== null ? [put(keys.appEgress(pair.app), set)] : []
      return { ops: [put(key, { ...pair, blocks, updatedAt }), ...bump], result: undefined }
    },
    lane,
  )
}
