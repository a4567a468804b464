import assert from 'node:assert/strict'
import {
  KEY_BYTES_MAX,
  type Op,
  type Store,
  TXN_BYTES_MAX,
  TXN_OPS_MAX,
  VALUE_BYTES_MAX,
} from '../store.ts'
import { type Cases, put, refuses, remove, watched, withStore } from './support.ts'

const revisionOf = async (store: Store) => (await store.range('')).revision

export const txnCases: Cases = {
  'an empty store is at revision 0': withStore(async ({ store }) => {
    assert.equal(await store.get('a'), undefined)
    assert.deepEqual(await store.range(''), { kvs: [], revision: 0, more: false })
  }),

  'a key counts its changes and remembers when it was made': withStore(async ({ store }) => {
    assert.deepEqual(await put(store, 'a', '1'), { succeeded: true, revision: 1 })
    await put(store, 'b', 'x')
    assert.deepEqual(await put(store, 'a', '1'), { succeeded: true, revision: 3 })
    const kv = { key: 'a', value: '1', createRevision: 1, modRevision: 3, version: 2 }
    assert.deepEqual(await store.get('a'), kv)
    await remove(store, 'a')
    assert.equal(await store.get('a'), undefined)
    await put(store, 'a', '2')
    const again = { key: 'a', value: '2', createRevision: 5, modRevision: 5, version: 1 }
    assert.deepEqual(await store.get('a'), again)
  }),

  'only what changes something is a revision': withStore(async ({ store }) => {
    await put(store, 'a')
    assert.deepEqual(await remove(store, 'none'), { succeeded: true, revision: 1 })
    assert.deepEqual(await store.txn({ then: [] }), { succeeded: true, revision: 1 })
    const when = [{ key: 'a', modRevision: 0 }]
    const then: Op[] = [{ put: 'a', value: 'x' }]
    assert.deepEqual(await store.txn({ when, then }), { succeeded: false, revision: 1 })
    const many = await store.txn({ then: [{ put: 'b', value: '' }, { delete: 'a' }] })
    assert.deepEqual(many, { succeeded: true, revision: 2 })
  }),

  'all compares decide which branch is applied': withStore(async ({ store }) => {
    await put(store, 'a', '1')
    const then: Op[] = [{ put: 'result', value: 'then' }]
    const otherwise: Op[] = [{ put: 'result', value: 'otherwise' }]
    const cases: [object[], string][] = [
      [[], 'then'],
      [[{ key: 'a', value: '1' }], 'then'],
      [[{ key: 'a', value: '2' }], 'otherwise'],
      [[{ key: 'a', modRevision: 1 }], 'then'],
      [[{ key: 'a', modRevision: 0 }], 'otherwise'],
      [[{ key: 'none', modRevision: 0 }], 'then'],
      [[{ key: 'none', value: '' }], 'otherwise'],
      [
        [
          { key: 'a', value: '1' },
          { key: 'a', modRevision: 9 },
        ],
        'otherwise',
      ],
    ]
    for (const [when, branch] of cases) {
      const { succeeded } = await store.txn({ when: when as never, then, otherwise })
      assert.equal(succeeded, branch === 'then', JSON.stringify(when))
      assert.equal((await store.get('result'))?.value, branch, JSON.stringify(when))
    }
  }),

  'of racing creations exactly one wins': withStore(async ({ store }) => {
    const when = [{ key: 'a', modRevision: 0 }]
    const race = Array.from({ length: 50 }, (_, i) =>
      store.txn({ when, then: [{ put: 'a', value: String(i) }] }),
    )
    const winners = (await Promise.all(race)).flatMap((r, i) => (r.succeeded ? [String(i)] : []))
    assert.equal(winners.length, 1)
    assert.equal((await store.get('a'))?.value, winners[0])
    assert.equal(await revisionOf(store), 1)
  }),

  'concurrent transactions get a revision each, and a refused one spoils none': withStore(
    async ({ store }) => {
      const results = await Promise.allSettled(
        Array.from({ length: 200 }, (_, i) =>
          i % 10 === 5
            ? store.txn({ then: [{ put: `k${i}`, value: '', lease: 'none' }] })
            : put(store, `k${i}`, String(i)),
        ),
      )
      const revisions = results.flatMap((r) => (r.status === 'fulfilled' ? [r.value.revision] : []))
      revisions.sort((a, b) => a - b)
      const counted = Array.from({ length: 180 }, (_, i) => i + 1)
      assert.deepEqual(revisions, counted)
      const batches = await watched(store, ['k'], 0, 180)
      assert.deepEqual(
        batches.map(({ revision }) => revision),
        counted,
      )
    },
  ),

  'limits are refused with their code and change nothing': withStore(async ({ store }) => {
    const puts = (count: number): Op[] =>
      Array.from({ length: count }, (_, i) => ({ put: `k${i}`, value: '' }))
    const compares = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ key: `k${i}`, modRevision: 0 }))
    const long = 'é'.repeat(KEY_BYTES_MAX / 2)
    const big = 'é'.repeat(VALUE_BYTES_MAX / 2)
    const half = 'x'.repeat(TXN_BYTES_MAX / 2)
    await refuses(store.txn({ then: puts(TXN_OPS_MAX + 1) }), 'too_many_ops')
    await refuses(store.txn({ then: [], otherwise: puts(TXN_OPS_MAX + 1) }), 'too_many_ops')
    await refuses(store.txn({ when: compares(TXN_OPS_MAX + 1), then: [] }), 'too_many_ops')
    await refuses(put(store, `${long}x`), 'key_too_large')
    await refuses(put(store, 'a', `${big}x`), 'value_too_large')
    const halves: Op[] = [
      { put: 'a', value: half },
      { put: 'b', value: half },
    ]
    await refuses(store.txn({ then: halves }), 'txn_too_large')
    await refuses(put(store, ''), 'malformed')
    await refuses(put(store, 'a\ud800'), 'malformed')
    await refuses(put(store, 'a', '\udc00'), 'malformed')
    await refuses(store.txn({ then: [{ put: 'a', value: '', lease: 'none' }] }), 'bad_lease')
    assert.equal(await revisionOf(store), 0)

    await store.txn({ when: compares(TXN_OPS_MAX), then: puts(TXN_OPS_MAX) })
    await put(store, long, big)
    assert.equal((await store.get(long))?.value, big)
    assert.equal(await revisionOf(store), 2)
  }),

  'a key is changed at most once in a transaction': withStore(async ({ store }) => {
    const a: Op = { put: 'a', value: '1' }
    const b: Op = { put: 'b', value: '1' }
    await refuses(store.txn({ then: [a, b, { ...a, value: '2' }] }), 'duplicate_key')
    await refuses(store.txn({ then: [a, b, { delete: 'a' }] }), 'duplicate_key')
    await refuses(store.txn({ then: [{ delete: 'a' }, a] }), 'duplicate_key')
    await refuses(store.txn({ then: [b], otherwise: [a, a] }), 'duplicate_key')
    assert.equal(await revisionOf(store), 0)
    assert.equal((await store.txn({ then: [a], otherwise: [a] })).revision, 1)
    assert.equal((await store.txn({ then: [{ delete: 'a' }, { delete: 'a' }] })).revision, 2)
    assert.equal((await watched(store, ['a'], 1, 1))[0]?.events.length, 1)
  }),

  'what was acknowledged is there after a restart': withStore(async (t) => {
    await put(t.store, 'a', '1')
    await put(t.store, 'b', '2')
    await remove(t.store, 'a')
    const before = await t.store.range('')
    await t.reopen()
    assert.deepEqual(await t.store.range(''), before)
    assert.deepEqual((await t.store.range('', { revision: 2 })).kvs.length, 2)
    assert.equal((await watched(t.store, [''], 0, 3)).length, 3)
    assert.equal((await put(t.store, 'c')).revision, 4)
  }),

  'any text survives as it is': withStore(async ({ store }) => {
    const texts = ['\0', 'a\0b', '%_*', "'; --", '\u{10ffff}', '\ufeff', 'é', 'e\u0301', '\n']
    for (const text of texts) await put(store, text, text)
    for (const text of texts) assert.equal((await store.get(text))?.value, text)
    assert.equal((await store.range('')).kvs.length, texts.length)
  }),
}
