import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { Worker } from 'node:worker_threads'

/** What starting Node takes at most on a machine that can show anything about fail-over. */
const START_MS_MAX = 400
/** A pause longer than this explains a missed heartbeat, a flapping route, a client's time-out. */
const PAUSE_MS_MAX = 300
const TICK_MS = 20

/**
 * A test that can show nothing on a machine with so little processor time that its own pauses look like
 * failures. There it is skipped, and says why: before it begins when starting a process takes too long,
 * and when it fails although nothing here ran for a while. A failure on a machine that kept pace stays one.
 */
export function paced(body: (t: TestContext) => Promise<void>): (t: TestContext) => Promise<void> {
  return async (t) => {
    const startMs = slowestStartMs()
    if (startMs > START_MS_MAX)
      return t.skip(`starting a process takes ${startMs} ms here, more than ${START_MS_MAX}`)
    const pauses = await watchPauses()
    try {
      await body(t)
    } catch (error) {
      const worstMs = pauses.worstMs()
      if (worstMs <= PAUSE_MS_MAX) throw error
      t.diagnostic(String(error))
      t.skip(`failed, but the machine stood still for ${worstMs} ms meanwhile`)
    } finally {
      await pauses.end()
    }
  }
}

/** Milliseconds from start to end of a Node process that does nothing: pauses show in the slowest of five. */
function slowestStartMs(): number {
  const took = [1, 2, 3, 4, 5].map(() => {
    const began = performance.now()
    spawnSync(process.execPath, ['-e', '0'])
    return Math.round(performance.now() - began)
  })
  return Math.max(...took)
}

/** How late a thread that does nothing else wakes up; what the test's own thread is at does not count. */
async function watchPauses(): Promise<{ worstMs(): number; end(): Promise<unknown> }> {
  const cell = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const { parentPort, workerData: { cell, tickMs } } = require('node:worker_threads')
    const idle = new Int32Array(new SharedArrayBuffer(4))
    parentPort.postMessage('ready')
    for (let last = performance.now(); ; ) {
      Atomics.wait(idle, 0, 0, tickMs)
      const now = performance.now()
      cell[0] = Math.max(cell[0], now - last - tickMs)
      last = now
    }`,
    { eval: true, workerData: { cell, tickMs: TICK_MS } },
  )
  await once(worker, 'message')
  return { worstMs: () => cell[0]!, end: () => worker.terminate() }
}
