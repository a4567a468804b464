import assert from 'node:assert/strict'
import { CompactedError, type KeyValue, RANGE_LIMIT_MAX, type Store } from '../store.ts'
import { type Cases, keysOf, put, refuses, remove, withStore } from './support.ts'

async function putAll(store: Store, keys: readonly string[], value = ''): Promise<void> {
  for (let i = 0; i < keys.length; i += 100)
    await store.txn({ then: keys.slice(i, i + 100).map((key) => ({ put: key, value })) })
}

/** All pages of one state. */
async function pages(store: Store, prefix: string, limit?: number): Promise<KeyValue[][]> {
  const found: KeyValue[][] = []
  let page = await store.range(prefix, { limit })
  const { revision } = page
  for (;;) {
    found.push([...page.kvs])
    if (!page.more) return found
    page = await store.range(prefix, { limit, revision, after: page.kvs.at(-1)!.key })
  }
}

export const rangeCases: Cases = {
  'a range is in the order of UTF-8 bytes, which is not that of UTF-16': withStore(
    async ({ store }) => {
      const ordered = ['\0', 'A', 'Z', 'a', 'a\0', 'a!', 'aa', 'b', 'é', '\uffee', '\u{1f600}']
      await putAll(store, [...ordered].reverse())
      assert.deepEqual(keysOf((await store.range('')).kvs), ordered)
      assert.deepEqual(keysOf((await store.range('', { after: '\uffee' })).kvs), ['\u{1f600}'])
    },
  ),

  'a prefix is a string, not a pattern': withStore(async ({ store }) => {
    await putAll(store, ['app', 'app/', 'app/a', 'app/b', 'App/c', 'app0', 'ap_/x', 'ap%/x'])
    assert.deepEqual(keysOf((await store.range('app/')).kvs), ['app/', 'app/a', 'app/b'])
    assert.deepEqual(keysOf((await store.range('ap_/')).kvs), ['ap_/x'])
    assert.deepEqual(keysOf((await store.range('ap%/')).kvs), ['ap%/x'])
    assert.deepEqual((await store.range('none')).kvs, [])
  }),

  'a prefix of the last code points ends where it should': withStore(async ({ store }) => {
    const last = '\u{10ffff}'
    const keys = ['a', `a${last}`, `a${last}${last}x`, 'b', '\ud7ff', '\ud7ffx', '\ue000', last]
    await putAll(store, keys)
    assert.deepEqual(keysOf((await store.range(`a${last}`)).kvs), keys.slice(1, 3))
    assert.deepEqual(keysOf((await store.range('\ud7ff')).kvs), ['\ud7ff', '\ud7ffx'])
    assert.deepEqual(keysOf((await store.range(last)).kvs), [last])
  }),

  'pages of one revision show one state, whatever is written meanwhile': withStore(
    async ({ store }) => {
      await putAll(store, ['k/a', 'k/b', 'k/c', 'k/d', 'k/e', 'l'], 'old')
      const first = await store.range('k/', { limit: 2 })
      assert.deepEqual(keysOf(first.kvs), ['k/a', 'k/b'])
      assert.equal(first.more, true)
      await remove(store, 'k/c')
      await put(store, 'k/bb', 'new')
      await put(store, 'k/d', 'new')
      const { revision } = first
      const second = await store.range('k/', { revision, limit: 2, after: 'k/b' })
      assert.deepEqual(keysOf(second.kvs), ['k/c', 'k/d'])
      assert.equal(second.more, true)
      assert.equal(second.revision, revision)
      assert.deepEqual(
        second.kvs.map(({ value }) => value),
        ['old', 'old'],
      )
      const third = await store.range('k/', { revision, limit: 2, after: 'k/d' })
      assert.deepEqual([keysOf(third.kvs), third.more], [['k/e'], false])
      assert.deepEqual(keysOf((await store.range('k/')).kvs), ['k/a', 'k/b', 'k/bb', 'k/d', 'k/e'])
    },
  ),

  'a page has at most RANGE_LIMIT_MAX keys': withStore(async ({ store }) => {
    const keys = Array.from({ length: 2 * RANGE_LIMIT_MAX }, (_, i) => String(i).padStart(6, '0'))
    await putAll(store, keys)
    const found = await pages(store, '', RANGE_LIMIT_MAX + 1)
    assert.deepEqual(
      found.map((page) => page.length),
      [RANGE_LIMIT_MAX, RANGE_LIMIT_MAX],
    )
    assert.deepEqual(keysOf(found.flat()), keys)
  }),

  'large values make pages shorter, and `more` says so': withStore(async ({ store }) => {
    const value = 'x'.repeat(1024 * 1024)
    const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
    for (const key of keys) await put(store, key, value)
    assert.deepEqual(keysOf((await pages(store, '')).flat()), keys)
  }),

  '`after` outside the prefix moves nothing and finds nothing': withStore(async ({ store }) => {
    await putAll(store, ['a', 'b/1', 'b/2', 'c'])
    assert.deepEqual(keysOf((await store.range('b/', { after: 'a' })).kvs), ['b/1', 'b/2'])
    assert.deepEqual(keysOf((await store.range('b/', { after: 'b/1x' })).kvs), ['b/2'])
    assert.deepEqual((await store.range('b/', { after: 'c' })).kvs, [])
    await putAll(store, ['\uffef', '\u{1f600}'])
    const emoji = await store.range('\u{1f600}', { after: '\uffee' })
    assert.deepEqual(keysOf(emoji.kvs), ['\u{1f600}'])
  }),

  'every past state can be read': withStore(async ({ store }) => {
    await put(store, 'a', '1')
    await put(store, 'b', '1')
    await put(store, 'a', '2')
    await remove(store, 'b')
    const at = async (revision: number) => {
      const range = await store.range('', { revision })
      assert.equal(range.revision, revision)
      return range.kvs.map(({ key, value }) => key + value).join()
    }
    assert.deepEqual(await Promise.all([0, 1, 2, 3, 4].map(at)), ['', 'a1', 'a1,b1', 'a2,b1', 'a2'])
    await refuses(store.range('', { revision: 5 }), 'future_revision')
  }),

  'a malformed range is refused': withStore(async ({ store }) => {
    await refuses(store.range('', { limit: 0 }), 'malformed')
    await refuses(store.range('', { limit: 1.5 }), 'malformed')
    await refuses(store.range('', { revision: -1 }), 'malformed')
    await refuses(store.range('\ud800'), 'malformed')
    await refuses(store.get(''), 'malformed')
  }),

  'what is compacted is answered so, and the present is untouched': withStore(
    async (t) => {
      const { store } = t
      await put(store, 'fixed', 'x')
      for (let i = 0; i < 50; i++) await put(store, `k${i % 5}`, String(i))
      for (let i = 0; i < 50; i++) {
        await put(store, 'gone', String(i))
        await remove(store, 'gone')
      }
      await t.compact()
      const error = await store.range('', { revision: 1 }).catch((thrown: unknown) => thrown)
      assert.ok(error instanceof CompactedError)
      assert.ok(error.compactRevision > 1 && error.compactRevision <= 141)
      const keys = ['fixed', 'k0', 'k1', 'k2', 'k3', 'k4']
      assert.deepEqual(keysOf((await store.range('')).kvs), keys)
      const { kvs } = await store.range('', { revision: error.compactRevision })
      assert.deepEqual(
        keysOf(kvs).filter((key) => key !== 'gone'),
        keys,
      )
      assert.equal((await store.get('k4'))?.version, 10)
      await t.reopen()
      await assert.rejects(t.store.range('', { revision: 1 }), CompactedError)
      assert.deepEqual(keysOf((await t.store.range('')).kvs), keys)
    },
    { retainRevisions: 10 },
  ),
}
