import { setImmediate as nextTick } from 'node:timers/promises'
import { backoffMs, type Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import {
  CompactedError,
  type KeyValue,
  RANGE_LIMIT_MAX,
  type Store,
  type WatchBatch,
} from '../store/store.ts'

/** All keys with a prefix as they were at one revision (default: now), page by page. */
export async function rangeAll(
  store: Store,
  prefix: string,
  revision?: number,
): Promise<{ kvs: KeyValue[]; revision: number }> {
  const kvs: KeyValue[] = []
  let at = revision
  for (;;) {
    const after = kvs.at(-1)?.key
    const page = await store.range(prefix, {
      limit: RANGE_LIMIT_MAX,
      ...(at === undefined ? {} : { revision: at }),
      ...(after === undefined ? {} : { after }),
    })
    kvs.push(...page.kvs)
    at = page.revision
    if (!page.more) return { kvs, revision: at }
  }
}

/** Receives the state of some prefixes and every change after it. Must not throw. */
export interface FollowSink {
  /** The whole state; what was known before is void. */
  reset(kvs: readonly KeyValue[], revision: number): void
  apply(batch: WatchBatch): void
}

export interface FollowOptions {
  readonly store: Store
  readonly prefixes: readonly string[]
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
  /** False: only changes matter; `reset` gets no keys. */
  readonly snapshot: boolean
  readonly signal: AbortSignal
}

/**
 * Keeps `sink` at the store's state until the signal aborts: after an error or a compaction it starts
 * again with `reset`. Resolves when following has ended.
 */
export async function follow(options: FollowOptions, sink: FollowSink): Promise<void> {
  const { store, prefixes, clock, log, signal } = options
  for (let failures = 0; !signal.aborted; ) {
    try {
      const revision = await load(options, sink)
      for await (const batch of store.watch(prefixes, revision, signal)) {
        failures = 0
        sink.apply(batch)
      }
      // A watch ends quietly only when aborted; give the loop's condition a chance to see it.
      await nextTick()
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof CompactedError) continue
      log.warn({ error: messageOf(error), prefixes }, 'following the store failed, trying again')
      await clock.sleep(backoffMs(failures++, options.random), signal).catch(() => {})
    }
  }
}

async function load(options: FollowOptions, sink: FollowSink): Promise<number> {
  const { store, prefixes, snapshot } = options
  const { revision } = await store.range(prefixes[0] ?? '', { limit: 1 })
  const kvs: KeyValue[] = []
  if (snapshot) {
    for (const prefix of prefixes) kvs.push(...(await rangeAll(store, prefix, revision)).kvs)
  }
  sink.reset(kvs, revision)
  return revision
}
