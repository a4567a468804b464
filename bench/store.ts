import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSqliteStore, type SqliteStore } from '../src/store/sqlite/sqlite-store.ts'

/** Usage: node bench/store.ts [directory]. Where the file lies decides what an fsync costs. */
const VALUE = 'x'.repeat(500)
const SECONDS = 3
const PRELOADED = 20_000
const CONCURRENT = 64

interface Sample {
  readonly name: string
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

async function measure(
  name: string,
  workers: number,
  once: (worker: number, i: number) => Promise<void>,
): Promise<Sample> {
  const latencies: number[] = []
  const begin = performance.now()
  const end = begin + SECONDS * 1_000
  const work = async (worker: number) => {
    for (let i = 0; performance.now() < end; i++) {
      const start = performance.now()
      await once(worker, i)
      latencies.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)))
  latencies.sort((a, b) => a - b)
  const at = (share: number) => latencies[Math.floor(share * (latencies.length - 1))] ?? 0
  const perSecond = latencies.length / ((performance.now() - begin) / 1_000)
  return { name, perSecond, p50Ms: at(0.5), p99Ms: at(0.99) }
}

const put = (store: SqliteStore, key: string) => store.txn({ then: [{ put: key, value: VALUE }] })

/** From the call of `txn` until a watcher holds the batch, with `idle` watchers of other prefixes. */
async function watchLatency(store: SqliteStore, idle: number): Promise<Sample> {
  const abort = new AbortController()
  const { revision } = await store.range('watched/')
  const idlers = Array.from({ length: idle }, (_, i) =>
    store
      .watch([`idle/${i}/`], revision, abort.signal)
      [Symbol.asyncIterator]()
      .next(),
  )
  const watch = store.watch(['watched/'], revision, abort.signal)[Symbol.asyncIterator]()
  const sample = await measure(`txn to watcher, beside ${idle} others`, 1, async (_, i) => {
    const next = watch.next()
    await put(store, `watched/${i % 100}`)
    await next
  })
  abort.abort()
  await Promise.all(idlers)
  return sample
}

async function preload(store: SqliteStore): Promise<void> {
  const keys = Array.from({ length: PRELOADED }, (_, i) => `app/${String(i).padStart(6, '0')}`)
  for (let i = 0; i < keys.length; i += 100)
    await store.txn({ then: keys.slice(i, i + 100).map((key) => ({ put: key, value: VALUE })) })
}

async function samplesOf(store: SqliteStore): Promise<Sample[]> {
  await preload(store)
  const key = (i: number) => `app/${String(i % PRELOADED).padStart(6, '0')}`
  const after = key(PRELOADED / 2)
  const sequential = await measure('txn, one at a time', 1, async (_, i) => {
    await put(store, `one/${i % 1_000}`)
  })
  const concurrent = await measure(
    `txn, ${CONCURRENT} at a time`,
    CONCURRENT,
    async (worker, i) => {
      await put(store, `many/${worker}/${i % 100}`)
    },
  )
  const get = await measure('get', 1, async (_, i) => {
    await store.get(key(i))
  })
  const range = await measure('range of 1,000', 1, async () => {
    await store.range('app/', { after })
  })
  const { revision } = await put(store, 'app/')
  const past = await measure('range of 1,000, a revision ago', 1, async () => {
    await store.range('app/', { after, revision: revision - 1 })
  })
  const watches = [await watchLatency(store, 0), await watchLatency(store, 1_000)]
  return [sequential, concurrent, get, range, past, ...watches]
}

const directory = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'fairway-bench-'))
const store = await openSqliteStore(join(directory, 'store.db'))
try {
  const rows = (await samplesOf(store)).map(({ name, perSecond, p50Ms, p99Ms }) => [
    name,
    {
      'per second': Math.round(perSecond),
      'p50 ms': Number(p50Ms.toFixed(3)),
      'p99 ms': Number(p99Ms.toFixed(3)),
    },
  ])
  console.table(Object.fromEntries(rows))
} finally {
  await store.close()
  rmSync(directory, { recursive: true })
}
