import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import fc from 'fast-check'
import { StoreModel } from '../model.ts'
import { CompactedError, type Op, StoreLimitError, type Txn } from '../store.ts'
import { type Cases, keysOf, type StoreUnderTest, Watching } from './support.ts'

const RUNS = Number(process.env.FAIRWAY_RUNS ?? 10)
/** Ends long shrinking, and a slow machine's runs; asking for a number of runs lifts it. */
const TIME_LIMIT_MS = process.env.FAIRWAY_RUNS ? 3_600_000 : 20_000
const RETAIN = 12

type TxnShape = {
  when: { key: string; by: 'current' | 'revision' | 'value'; revision: number; value: string }[]
  then: OpShape[]
  otherwise: OpShape[]
}
type OpShape = { key: string; value: string; remove: boolean; lease: number | undefined }
type Step =
  | { do: 'txns'; txns: TxnShape[] }
  | { do: 'range'; prefix: string; back: number; limit: number }
  | { do: 'grant'; ttlMs: number }
  | { do: 'renew' | 'revoke'; lease: number }
  | { do: 'advance'; ms: number }
  | { do: 'watch'; prefixes: string[]; back: number }
  | { do: 'read' | 'resume'; watch: number }
  | { do: 'reopen' }

const key = fc.constantFrom('a', 'a/', 'a/1', 'a/2', 'a0', 'b/é', 'b/\uffee', 'b/\u{1f600}', 'c')
const prefix = fc.constantFrom('', 'a', 'a/', 'b/', 'c', 'z')
const value = fc.constantFrom('', '0', '1', '2')
const nth = fc.nat(3)

const op: fc.Arbitrary<OpShape> = fc.record({
  key,
  value,
  remove: fc.nat(3).map((n) => n === 0),
  lease: fc.option(nth, { nil: undefined, freq: 2 }),
})
const ops = (maxLength: number) => fc.uniqueArray(op, { maxLength, selector: (o) => o.key })
const compare = fc.record({
  key,
  by: fc.constantFrom('current' as const, 'revision' as const, 'value' as const),
  revision: fc.nat(9),
  value,
})
const txn: fc.Arbitrary<TxnShape> = fc.record({
  when: fc.array(compare, { maxLength: 2 }),
  then: ops(4),
  otherwise: ops(2),
})
/** Mostly near the edge of what is kept, where mistakes are. */
const back = fc.oneof(fc.nat(2 * RETAIN), fc.integer({ min: RETAIN, max: RETAIN + 2 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.array(txn, { minLength: 1, maxLength: 5 }).map((txns) => ({
      do: 'txns' as const,
      txns,
    })),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('range' as const),
      prefix,
      back,
      limit: fc.integer({ min: 1, max: 5 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('grant' as const),
      ttlMs: fc.integer({ min: 1, max: 50 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom('renew' as const, 'revoke' as const), lease: nth }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('advance' as const),
      ms: fc.integer({ min: 1, max: 40 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('watch' as const),
      prefixes: fc.array(prefix, { maxLength: 3 }),
      back,
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constantFrom('read' as const, 'resume' as const), watch: nth }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'reopen' as const }) },
)

/** An engine and the model side by side; every step checks that they agree. */
class Comparison {
  readonly #t: StoreUnderTest
  readonly #model = new StoreModel()
  #now = 0
  readonly #leases: string[] = []
  readonly #watches: { prefixes: string[]; seen: number; watching: Watching }[] = []

  constructor(t: StoreUnderTest) {
    this.#t = t
  }

  async step(step: Step): Promise<void> {
    switch (step.do) {
      case 'txns':
        return this.#txns(step.txns)
      case 'range':
        return this.#range(step.prefix, this.#revisionAt(step.back), step.limit)
      case 'grant': {
        const lease = await this.#t.store.leases.grant(step.ttlMs)
        this.#model.granted(lease, step.ttlMs, this.#now)
        this.#leases.unshift(lease)
        return
      }
      case 'renew':
      case 'revoke':
        return this.#touch(step.do, this.#leases[step.lease])
      case 'advance':
        this.#now += step.ms
        this.#model.expire(this.#now)
        return this.#t.advance(step.ms)
      case 'watch':
        return this.#watch(step.prefixes, this.#revisionAt(step.back))
      case 'read':
        return this.#read(step.watch)
      case 'resume':
        return this.#resume(step.watch)
      case 'reopen':
        return this.#reopen()
    }
  }

  #revisionAt(revisionsBack: number): number {
    return Math.max(0, this.#model.revision - revisionsBack)
  }

  #op({ key, value, remove, lease }: OpShape): Op {
    if (remove) return { delete: key }
    const id = lease === undefined ? undefined : this.#leases[lease]
    return id === undefined ? { put: key, value } : { put: key, value, lease: id }
  }

  #resolve(shape: TxnShape): Txn {
    const current = new Map(this.#model.range('').map((kv) => [kv.key, kv.modRevision]))
    return {
      when: shape.when.map(({ key, by, revision, value }) => {
        if (by === 'value') return { key, value }
        return { key, modRevision: by === 'current' ? (current.get(key) ?? 0) : revision }
      }),
      then: shape.then.map((o) => this.#op(o)),
      otherwise: shape.otherwise.map((o) => this.#op(o)),
    }
  }

  /** At once where the engine keeps the order of calls, so that they share a commit. */
  async #txns(shapes: readonly TxnShape[]): Promise<void> {
    const txns = shapes.map((shape) => this.#resolve(shape))
    const run = (txn: Txn) =>
      this.#t.store.txn(txn).catch((error: unknown) => {
        assert.ok(error instanceof StoreLimitError && error.code === 'bad_lease', String(error))
        return undefined
      })
    const results = this.#t.ordered ? await Promise.all(txns.map(run)) : []
    for (const [i, txn] of txns.entries()) {
      const result = this.#t.ordered ? results[i] : await run(txn)
      assert.deepEqual(result, this.#model.txn(txn), JSON.stringify(txn))
    }
  }

  async #range(prefix: string, revision: number, limit: number): Promise<void> {
    let after: string | undefined
    const left = [...this.#model.range(prefix, revision)]
    for (let more = true; more; ) {
      const page = await this.#t.store
        .range(prefix, { revision, limit, after })
        .catch((error: unknown) => this.#mayBeCompacted(error, revision))
      if (!page) return
      assert.deepEqual(page.kvs, left.splice(0, limit), `range ${prefix} at ${revision}`)
      assert.equal(page.revision, revision)
      assert.equal(page.more, left.length > 0)
      more = page.more
      after = keysOf(page.kvs).at(-1)
    }
  }

  #mayBeCompacted(error: unknown, revision: number): undefined {
    assert.ok(error instanceof CompactedError, String(error))
    assert.ok(revision < this.#model.revision - RETAIN, `${revision} must be kept`)
    assert.ok(error.compactRevision > revision)
    assert.ok(error.compactRevision <= this.#model.revision)
  }

  async #touch(what: 'renew' | 'revoke', lease: string | undefined): Promise<void> {
    if (lease === undefined) return
    if (what === 'renew') {
      const renewed = await this.#t.store.leases.renew(lease)
      assert.equal(renewed, this.#model.renew(lease, this.#now))
    } else {
      await this.#t.store.leases.revoke(lease)
      this.#model.revoke(lease)
    }
  }

  #watch(prefixes: string[], after: number): void {
    const watching = new Watching(this.#t.store, prefixes, after)
    this.#watches.push({ prefixes, seen: after, watching })
  }

  /** What the watch must show by now, and nothing else, is shown. */
  async #read(index: number): Promise<void> {
    const watch = this.#watches[index % Math.max(1, this.#watches.length)]
    if (!watch) return
    const want = this.#model.changes(watch.prefixes, watch.seen)
    try {
      const batches = await watch.watching.take(want.length)
      assert.deepEqual(batches, want, `watch of ${watch.prefixes} after ${watch.seen}`)
      watch.seen = want.at(-1)?.revision ?? watch.seen
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      this.#mayBeCompacted(error, watch.seen)
      this.#watches.splice(this.#watches.indexOf(watch), 1)
    }
  }

  async #resume(index: number): Promise<void> {
    const watch = this.#watches[index % Math.max(1, this.#watches.length)]
    if (!watch) return
    await watch.watching.stop()
    watch.watching = new Watching(this.#t.store, watch.prefixes, watch.seen)
  }

  async #reopen(): Promise<void> {
    for (const { watching } of this.#watches) await watching.stop()
    await this.#t.reopen()
    this.#model.restart(this.#now)
    for (const watch of this.#watches)
      watch.watching = new Watching(this.#t.store, watch.prefixes, watch.seen)
  }

  async end(): Promise<void> {
    await this.#range('', this.#model.revision, 5)
    for (let i = this.#watches.length - 1; i >= 0; i--) await this.#read(i)
    for (const { watching } of this.#watches) await watching.stop()
  }
}

export const propertyCases: Cases = {
  'any history is as the model has it': async (make, print) => {
    const seed = Number(process.env.FAIRWAY_SEED ?? randomInt(2 ** 31))
    const path = process.env.FAIRWAY_PATH
    print(`replay with FAIRWAY_SEED=${seed}`)
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }),
        async (steps) => {
          const t = await make({ retainRevisions: RETAIN })
          const comparison = new Comparison(t)
          try {
            for (const one of steps) await comparison.step(one)
            await comparison.end()
          } finally {
            await t.close()
          }
        },
      ),
      {
        seed,
        path,
        numRuns: RUNS,
        endOnFailure: path !== undefined,
        interruptAfterTimeLimit: TIME_LIMIT_MS,
      },
    )
  },
}
