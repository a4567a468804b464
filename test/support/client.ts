import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ROOT, type TestWorld } from './world.ts'

export interface Seen {
  readonly atMs: number
  readonly region?: string
  readonly error?: string
}

/** A client at a place that asks again and again; `stop` resolves with everything that it saw. */
export interface LoopingClient {
  readonly seen: readonly Seen[]
  stop(): Promise<readonly Seen[]>
}

export function startClient(world: TestWorld, place: string, name: string): LoopingClient {
  const loop = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'loop.ts'),
    name,
  ]
  const child = spawn(join(ROOT, 'bin', 'fairway'), ['world', 'exec', place, '--', ...loop], {
    env: { ...process.env, FAIRWAY_STATE: world.stateDir },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const seen: Seen[] = []
  createInterface({ input: child.stdout }).on('line', (line) => seen.push(JSON.parse(line) as Seen))
  const ended = new Promise((resolve) => child.on('close', resolve))
  return {
    seen,
    async stop() {
      child.stdin.end()
      await ended
      return seen
    },
  }
}
