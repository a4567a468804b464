import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { EdgeApp } from './edge-process.ts'

const START_MS = 20_000

/** The edge in its own process, and what can be seen of it from outside. */
export class Edge {
  readonly ports: readonly number[]
  readonly #child: ChildProcess
  /** Why it has ended, if it has. */
  died: string | undefined

  private constructor(child: ChildProcess, ports: readonly number[]) {
    this.#child = child
    this.ports = ports
    child.on('exit', (code, signal) => (this.died ??= `the edge ended: ${code ?? signal}`))
  }

  /** One public port for each app, in order. */
  static async start(apps: readonly EdgeApp[]): Promise<Edge> {
    const child = fork(join(import.meta.dirname, 'edge-process.ts'))
    child.send(apps)
    const [{ ports }] = await once(child, 'message', { signal: AbortSignal.timeout(START_MS) })
    return new Edge(child, ports)
  }

  /** Connections open on both sides, and resident memory. */
  async counts(): Promise<{ open: number; residentMb: number }> {
    this.#child.send('counts')
    const [counts] = await once(this.#child, 'message', { signal: AbortSignal.timeout(START_MS) })
    return counts
  }

  stop(): void {
    this.died ??= 'stopped'
    this.#child.kill('SIGKILL')
  }
}
