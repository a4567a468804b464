import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Answer, Load } from './load.ts'
import { ROOT, type TestWorld } from './world.ts'

/** Clients of `load.ts` at a place, until they have asked enough or `stop`. */
export interface Loading {
  readonly answers: readonly Answer[]
  readonly ended: Promise<readonly Answer[]>
  stop(): Promise<readonly Answer[]>
}

export function startLoad(world: TestWorld, load: Load, place: string): Loading {
  const loader = join(import.meta.dirname, 'load.ts')
  const child = spawn(
    join(ROOT, 'bin', 'fairway'),
    [
      ...['world', 'exec', place, '--', process.execPath],
      ...['--disable-warning=ExperimentalWarning', loader, JSON.stringify(load)],
    ],
    { env: { ...process.env, FAIRWAY_STATE: world.stateDir }, stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const answers: Answer[] = []
  createInterface({ input: child.stdout }).on('line', (line) => answers.push(JSON.parse(line)))
  const ended = new Promise((resolve) => child.on('close', resolve)).then(() => answers)
  return {
    answers,
    ended,
    stop: () => {
      child.stdin.end()
      return ended
    },
  }
}
