import { type ChildProcess, spawn } from 'node:child_process'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { LOAD_CORE } from './process.ts'

const START_MS = 20_000
const POLL_MS = 50
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']

/** One request of a load generator, and what it says of it. */
export type LoadRun = (request: object) => Promise<Record<string, number>>

/** A load generator of ours on its core: one JSON request per line in, one answer per line out. */
export function startLoad(argv: readonly string[]): { child: ChildProcess; run: LoadRun } {
  const child = spawn('taskset', ['-c', LOAD_CORE, ...NODE, ...argv], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    run: async (request) => {
      child.stdin.write(`${JSON.stringify(request)}\n`)
      const { value, done } = await lines.next()
      if (done) throw new Error(`the load generator ended: ${JSON.stringify(request)}`)
      return JSON.parse(value)
    },
  }
}

/** Waits until somebody accepts connections at a port of loopback. */
export async function listening(port: number): Promise<void> {
  const until = performance.now() + START_MS
  for (;;) {
    const socket = net.connect({ port, host: '127.0.0.1' })
    const answered = await new Promise((resolve) => {
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
    })
    socket.destroy()
    if (answered) return
    if (performance.now() > until) throw new Error(`nothing listens on port ${port}`)
    await delay(POLL_MS)
  }
}
