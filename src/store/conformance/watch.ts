import assert from 'node:assert/strict'
import { CompactedError, type Op, type RangeResult, type WatchBatch } from '../store.ts'
import {
  type Cases,
  keysOf,
  put,
  refuses,
  remove,
  shown,
  Watching,
  watched,
  withStore,
} from './support.ts'

/** So many that the oldest kept, ten before, is a deletion: the easiest one to lose. */
const LAST = 62

export const watchCases: Cases = {
  'a watch shows the past and then the present, one batch per revision': withStore(
    async ({ store }) => {
      await put(store, 'a/1', 'x')
      await put(store, 'b', 'x')
      const watching = new Watching(store, ['a/'], 0)
      assert.deepEqual((await watching.take(1)).map(shown), ['1: +a/1=x'])
      const then: Op[] = [{ delete: 'a/1' }, { put: 'b', value: '' }, { put: 'a/2', value: 'y' }]
      await store.txn({ then })
      await put(store, 'a/3', 'z')
      assert.deepEqual((await watching.take(2)).map(shown), ['3: -a/1 +a/2=y', '4: +a/3=z'])
      await watching.stop()
    },
  ),

  'a batch shows keys as `get` does': withStore(async ({ store }) => {
    const lease = await store.leases.grant(60_000)
    const watching = new Watching(store, ['a'], 0)
    const batches: Promise<WatchBatch[]> = watching.take(2)
    await put(store, 'a', '1')
    const first = await store.get('a')
    await store.txn({ then: [{ put: 'a', value: '2', lease }] })
    const second = await store.get('a')
    assert.equal(second?.lease, lease)
    const want = [first!, second!].map((kv) => [{ type: 'put', kv }])
    assert.deepEqual(
      (await batches).map(({ events }) => events),
      want,
    )
    await watching.stop()
    assert.deepEqual(
      (await watched(store, ['a'], 0, 2)).map(({ events }) => events),
      want,
    )
  }),

  'prefixes add up, and one inside another repeats nothing': withStore(async ({ store }) => {
    const live = new Watching(store, ['a/', 'a/b', 'c', 'a/'], 0)
    const first = live.take(1)
    await store.txn({ then: ['a/a', 'a/b', 'b', 'c'].map((key) => ({ put: key, value: '' })) })
    const want = ['1: +a/a= +a/b= +c=']
    assert.deepEqual((await first).map(shown), want)
    await live.stop()
    assert.deepEqual((await watched(store, ['a/', 'a/b', 'c'], 0, 1)).map(shown), want)
  }),

  'a watch resumes exactly, from any revision': withStore(async ({ store }) => {
    for (let i = 1; i <= 30; i++) {
      if (i % 7 === 0) await remove(store, `k${(i - 1) % 4}`)
      else await put(store, `k${i % 4}`, String(i))
    }
    const all = await watched(store, ['k'], 0, 30)
    for (let after = 0; after <= 29; after++) {
      const rest = await watched(store, ['k'], after, 30 - after)
      assert.deepEqual(rest, all.slice(after), `after ${after}`)
    }
  }),

  'a long past arrives whole, whatever the size of its revisions': withStore(async ({ store }) => {
    const lease = await store.leases.grant(60_000)
    const keys = ['a', 'b', 'c']
    for (let i = 0; i < 400; i++)
      await store.txn({ then: keys.map((key) => ({ put: `${key}${i}`, value: '', lease })) })
    await store.leases.revoke(lease)
    await put(store, 'end')
    const sizes = (await watched(store, [''], 0, 402)).map(({ events }) => events.length)
    assert.deepEqual(sizes, [...Array<number>(400).fill(3), 1_200, 1])
    assert.deepEqual((await watched(store, ['end'], 0, 1)).map(shown), ['402: +end='])
  }),

  'a change that races the start of a watch is seen once': withStore(async ({ store }) => {
    for (let hops = 0; hops < 12; hops++) {
      const { revision } = await store.range('')
      const watching = new Watching(store, ['a'], revision)
      const next = watching.take(2)
      // A little later each time: before, with and after the watch's own question to the engine.
      for (let i = 0; i < hops; i++) await undefined
      await Promise.all([put(store, 'a', 'x'), put(store, 'a', 'y')])
      assert.deepEqual(
        (await next).map(shown),
        [`${revision + 1}: +a=x`, `${revision + 2}: +a=y`],
        `${hops} hops`,
      )
      await watching.stop()
    }
  }),

  'an aborted watch ends quietly': withStore(async ({ store }) => {
    await put(store, 'a')
    const never: WatchBatch[] = []
    for await (const batch of store.watch(['a'], 0, AbortSignal.abort())) never.push(batch)
    assert.deepEqual(never, [])

    const waiting = new Watching(store, ['none'], 0)
    const next = waiting.next()
    await put(store, 'a')
    await waiting.stop()
    assert.equal((await next).done, true)

    const abort = new AbortController()
    const seen: number[] = []
    for await (const { revision } of store.watch(['a'], 0, abort.signal)) {
      seen.push(revision)
      abort.abort()
    }
    assert.deepEqual(seen, [1])
  }),

  'a consumer may leave the loop': withStore(async ({ store }) => {
    for (let i = 0; i < 3; i++) {
      await put(store, 'a')
      const { signal } = new AbortController()
      for await (const { revision } of store.watch(['a'], i, signal)) {
        assert.equal(revision, i + 1)
        break
      }
    }
  }),

  'a watcher that lags far behind misses nothing': withStore(async ({ store }) => {
    const slow = new Watching(store, ['k'], 0)
    await put(store, 'k0', '0')
    assert.deepEqual((await slow.take(1)).map(shown), ['1: +k0=0'])
    // A pending `next` makes it live, so that what follows is offered to it.
    const second = slow.take(1)
    for (let done = 1; done < 3_000; done += 500)
      await Promise.all(Array.from({ length: 500 }, (_, i) => put(store, `k${done + i}`, 'x')))
    const batches = [...(await second), ...(await slow.take(2_999))]
    assert.deepEqual(
      batches.map(({ revision }) => revision),
      Array.from({ length: 3_000 }, (_, i) => i + 2),
    )
    await slow.stop()
  }),

  'many watchers each see their own prefix': withStore(async ({ store }) => {
    const watching = Array.from({ length: 100 }, (_, i) => new Watching(store, [`h/${i}/`], 0))
    const first = watching.map((w) => w.take(2))
    await Promise.all(watching.map((_, i) => put(store, `h/${i}/a`, String(i))))
    await Promise.all(watching.map((_, i) => put(store, `h/${i}/b`, String(i))))
    for (const [i, batches] of (await Promise.all(first)).entries())
      assert.deepEqual(
        batches.map((batch) => shown(batch).replace(/^\d+: /, '')),
        [`+h/${i}/a=${i}`, `+h/${i}/b=${i}`],
      )
    await Promise.all(watching.map((w) => w.stop()))
  }),

  'a watch whose past is gone says so': withStore(
    async (t) => {
      const { store } = t
      for (let i = 0; i < 200; i++) await put(store, 'a', String(i))
      await t.compact()
      const error = await watched(store, ['a'], 3, 1).catch((thrown: unknown) => thrown)
      assert.ok(error instanceof CompactedError)
      const { compactRevision } = error
      assert.ok(compactRevision > 3 && compactRevision <= 190)
      const rest = await watched(store, ['a'], compactRevision, 200 - compactRevision)
      assert.equal(rest[0]?.revision, compactRevision + 1)
      assert.equal(rest.at(-1)?.revision, 200)
      await assert.rejects(watched(store, ['a'], 201, 1), CompactedError)
    },
    { retainRevisions: 10 },
  ),

  'at the edge of what is kept, an answer is whole or `compacted`': withStore(
    async (t) => {
      const { store } = t
      const states: string[] = ['']
      const live = new Set<string>()
      for (let i = 0; i < LAST; i++) {
        const key = `k${i % 3}`
        // Creations and deletions in turn: the latter leave nothing behind once they are compacted.
        if (live.delete(key)) await remove(store, key)
        else {
          live.add(key)
          await put(store, key)
        }
        states.push([...live].sort().join())
      }
      await t.compact()
      let compacted = 0
      for (let at = 0; at <= LAST; at++) {
        const watch = watched(store, [''], at, LAST - at).catch((error: unknown) => error)
        const range = store.range('', { revision: at }).catch((error: unknown) => error)
        const [seen, state] = [await watch, await range]
        for (const answer of [seen, state])
          if (answer instanceof CompactedError) {
            assert.ok(at < LAST - 10, `revision ${at} must be kept`)
            compacted++
          }
        if (!(seen instanceof CompactedError))
          assert.equal((seen as WatchBatch[]).length, LAST - at, `watch after ${at}`)
        if (!(state instanceof CompactedError))
          assert.equal(keysOf((state as RangeResult).kvs).join(), states[at], `range at ${at}`)
      }
      assert.ok(compacted > 0)
    },
    { retainRevisions: 10 },
  ),

  'a watch of a quiet prefix outlives compaction': withStore(
    async (t) => {
      const { store } = t
      await put(store, 'quiet', '0')
      const watching = new Watching(store, ['quiet'], 0)
      await watching.take(1)
      const next = watching.take(1)
      for (let i = 0; i < 100; i++) await put(store, 'busy', String(i))
      await t.compact()
      await put(store, 'quiet', '1')
      assert.deepEqual((await next).map(shown), ['102: +quiet=1'])
      await watching.stop()
    },
    { retainRevisions: 10 },
  ),

  'a malformed watch is refused': withStore(async ({ store }) => {
    await refuses(watched(store, ['a'], -1, 1), 'malformed')
    await refuses(watched(store, ['\ud800'], 0, 1), 'malformed')
  }),
}
