import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { bucketOf, LoadCells, LoadTable, newLoadMemory } from './loads.ts'

test('at a limit is over it (X4)', () => {
  const limits = { soft: 2, hard: 4 }
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((n) => bucketOf(n, limits)),
    [0, 0, 1, 1, 2, 2],
  )
  assert.deepEqual(
    [0, 19, 20, 1_000].map((n) => bucketOf(n, { soft: 20, hard: null })),
    [0, 0, 1, 1],
  )
})

describe('a table', () => {
  test('says once that a bucket may have changed, until somebody looks', () => {
    let said = 0
    const memory = newLoadMemory(4)
    const table = new LoadTable({ memory, worker: 0, onChanged: () => said++ })
    table.assign('m', [2])
    const slot = table.slotOf('m', 0)
    const limits = { soft: 2, hard: 3 }
    table.claim(slot, limits)
    assert.equal(said, 0, 'still below the soft limit')
    for (let i = 0; i < 2; i++) table.claim(slot, limits)
    assert.equal(table.claim(slot, limits), false)
    assert.equal(said, 1)
    new LoadCells(memory).clearChanged()
    assert.equal(table.release(slot, limits), true, 'there was no slot left')
    assert.equal(table.release(slot, limits), false)
    assert.equal(said, 2)
  })

  test('does not count what has no slot, and forgets', () => {
    const table = new LoadTable({ memory: newLoadMemory(4), worker: 0 })
    assert.equal(table.slotOf('m', 0), -1)
    assert.equal(table.claim(-1, { soft: 0, hard: 0 }), true)
    assert.equal(table.release(-1, { soft: 0, hard: 0 }), false)
    table.assign('m', [1, 3])
    assert.equal(table.slotOf('m', 1), 3)
    table.forget('m')
    assert.equal(table.slotOf('m', 1), -1)
  })

  test('alone it assigns slots itself, up to its size', () => {
    const table = LoadTable.alone(3)
    assert.deepEqual(
      [
        table.slotOf('a', 0),
        table.slotOf('b', 1),
        table.slotOf('b', 0),
        table.slotOf('c', 0),
        table.slotOf('a', 0),
      ],
      [0, 2, 1, -1, 0],
    )
  })
})

test('threads together never claim more than the hard limit, and lose no release', async () => {
  const [threads, rounds, hard] = [4, 20_000, 3]
  const memory = newLoadMemory(1)
  const most = new SharedArrayBuffer(4)
  const source = `
    import { workerData } from 'node:worker_threads'
    const { LoadCells } = await import(workerData.module)
    const cells = new LoadCells(workerData.memory)
    const most = new Int32Array(workerData.most)
    for (let i = 0; i < workerData.rounds; i++) {
      const n = cells.claim(0, workerData.hard)
      if (n < 0) continue
      for (let seen = Atomics.load(most, 0); n > seen; seen = Atomics.load(most, 0))
        Atomics.compareExchange(most, 0, seen, n)
      cells.release(0)
    }`
  const module = new URL('./loads.ts', import.meta.url).href
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`)
  const workers = Array.from(
    { length: threads },
    () => new Worker(url, { workerData: { memory, most, rounds, hard, module } }),
  )
  const codes = await Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0]))
  assert.deepEqual(codes, Array(threads).fill(0))
  assert.equal(new LoadCells(memory).count(0), 0)
  assert.ok(new Int32Array(most)[0]! <= hard)
})
