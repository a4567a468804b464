import assert from 'node:assert/strict'
import { type Cases, put, refuses, shown, Watching, watched, withStore } from './support.ts'

export const leaseCases: Cases = {
  'a lease that is not renewed takes its keys with it, in one revision': withStore(async (t) => {
    const { store } = t
    const lease = await store.leases.grant(5_000)
    const other = await store.leases.grant(60_000)
    assert.notEqual(lease, other)
    await store.txn({ then: ['a', 'b'].map((key) => ({ put: key, value: '', lease })) })
    await store.txn({ then: [{ put: 'c', value: '', lease: other }] })
    await put(store, 'd')
    const watching = new Watching(store, [''], 3)
    const next = watching.take(1)
    await t.advance(5_001)
    assert.deepEqual((await next).map(shown), ['4: -a -b'])
    await watching.stop()
    const { kvs, revision } = await store.range('')
    assert.deepEqual([kvs.map(({ key }) => key), revision], [['c', 'd'], 4])
    assert.equal(await store.leases.renew(lease), false)
    await refuses(store.txn({ then: [{ put: 'e', value: '', lease }] }), 'bad_lease')
  }),

  'a renewed lease lives on': withStore(async (t) => {
    const { store } = t
    const lease = await store.leases.grant(5_000)
    await store.txn({ then: [{ put: 'a', value: '', lease }] })
    for (let i = 0; i < 3; i++) {
      await t.advance(3_000)
      assert.equal(await store.leases.renew(lease), true)
    }
    assert.equal((await store.get('a'))?.lease, lease)
    await t.advance(5_001)
    assert.equal(await store.get('a'), undefined)
  }),

  'revoking ends a lease at once': withStore(async ({ store }) => {
    const lease = await store.leases.grant(60_000)
    await store.txn({ then: ['a', 'b'].map((key) => ({ put: key, value: '', lease })) })
    await store.leases.revoke(lease)
    assert.equal((await store.range('')).kvs.length, 0)
    assert.deepEqual((await watched(store, [''], 1, 1)).map(shown), ['2: -a -b'])
    assert.equal(await store.leases.renew(lease), false)
    await store.leases.revoke(lease)
  }),

  'the last put decides whose a key is': withStore(async (t) => {
    const { store } = t
    const short = await store.leases.grant(5_000)
    const long = await store.leases.grant(60_000)
    await store.txn({ then: ['a', 'b', 'c'].map((key) => ({ put: key, value: '', lease: short })) })
    await put(store, 'a')
    await store.txn({ then: [{ put: 'b', value: '', lease: long }] })
    await t.advance(5_001)
    assert.deepEqual(
      (await store.range('')).kvs.map(({ key, lease }) => [key, lease]),
      [
        ['a', undefined],
        ['b', long],
      ],
    )
  }),

  'a lease without keys ends without a revision': withStore(async (t) => {
    const lease = await t.store.leases.grant(1_000)
    await t.advance(1_001)
    assert.equal(await t.store.leases.renew(lease), false)
    assert.equal((await t.store.range('')).revision, 0)
  }),

  'a lease and its keys survive a restart, with the whole TTL again': withStore(async (t) => {
    const lease = await t.store.leases.grant(5_000)
    await t.store.txn({ then: [{ put: 'a', value: '', lease }] })
    await t.advance(4_000)
    await t.reopen()
    await t.advance(4_000)
    assert.equal((await t.store.get('a'))?.lease, lease)
    await t.advance(1_001)
    assert.equal(await t.store.get('a'), undefined)
    assert.equal(await t.store.leases.renew(lease), false)
  }),

  'a TTL that makes no sense is refused': withStore(async ({ store }) => {
    for (const ttlMs of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
      await refuses(store.leases.grant(ttlMs), 'bad_lease')
  }),
}
