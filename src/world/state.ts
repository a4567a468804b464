import { mkdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where a world keeps its things. One folder, 0700; everything that survives `down` is in it. */
export interface WorldState {
  readonly dir: string
  /** `{ keeperPid, keeperStart, initPid, rootless, apps, api }` of the running world. */
  readonly runFile: string
  readonly worldSocket: string
  readonly appsSocket: string
  readonly apiSocket: string
  readonly cliFile: string
  readonly descriptionFile: string
  readonly controlDir: string
  readonly logDir: string
  hostDir(id: string): string
}

/** $FAIRWAY_STATE, else ${XDG_STATE_HOME:-~/.local/state}/fairway. */
export function stateDir(): string {
  if (process.env.FAIRWAY_STATE) return process.env.FAIRWAY_STATE
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'fairway')
}

export function worldState(dir = stateDir()): WorldState {
  const run = join(dir, 'run')
  mkdirSync(run, { recursive: true, mode: 0o700 })
  return {
    dir,
    runFile: join(run, 'world.json'),
    worldSocket: join(run, 'world.sock'),
    appsSocket: join(run, 'apps.sock'),
    apiSocket: join(run, 'api.sock'),
    cliFile: join(dir, 'cli.json'),
    descriptionFile: join(dir, 'world.json'),
    controlDir: join(dir, 'control'),
    logDir: join(dir, 'log'),
    hostDir: (id) => join(dir, 'hosts', id),
  }
}

export interface RunningWorld {
  readonly keeperPid: number
  /** Start time of the keeper in clock ticks since boot: tells it from a later process of its number. */
  readonly keeperStart: string
  /** Process 1 of the world, as numbered outside. */
  readonly initPid: number
  /** Link text of its PID namespace, to find what is still in it. */
  readonly pidNamespace: string
  readonly rootless: boolean
  readonly appsPort: number
  readonly apiPort: number
}

/** The running world, or undefined when there is none (a stale file counts as none). */
export function runningWorld(state: WorldState): RunningWorld | undefined {
  let running: RunningWorld
  try {
    running = JSON.parse(readFileSync(state.runFile, 'utf8'))
  } catch {
    return undefined
  }
  return startTime(running.keeperPid) === running.keeperStart ? running : undefined
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
export function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
