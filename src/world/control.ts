import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { FairwayError } from '../base/errors.ts'
import { CgroupRoot } from './cgroups.ts'
import type { WorldDescription } from './description.ts'
import type { WorldRequest } from './init.ts'
import { atPlace } from './place.ts'
import { completePath, type Problem, preflight } from './preflight.ts'
import { type RunningWorld, runningWorld, startTime, type WorldState } from './state.ts'
import type { PlaceStatus } from './units.ts'

const UP_TIMEOUT_MS = 420_000
const DOWN_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 45_000

/** Starts a world and resolves when everything in it answers. `progress` is called for each step. */
export async function startWorld(
  state: WorldState,
  world: WorldDescription,
  progress: (step: string) => void,
): Promise<RunningWorld> {
  completePath()
  const problems = preflight()
  if (problems.length) throw new FairwayError('not_ready', problems.map(describe).join('\n'))
  await removeLeftovers(state)
  mkdirSync(state.logDir, { recursive: true, mode: 0o700 })
  writeFileSync(state.descriptionFile, JSON.stringify(world, null, 2), { mode: 0o600 })
  const log = openSync(join(state.logDir, 'world.log'), 'a', 0o600)
  const keeper = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'keeper.ts'), state.dir],
    { detached: true, stdio: ['ignore', 'pipe', log] },
  )
  try {
    return await follow(keeper.stdout!, progress, state)
  } catch (error) {
    keeper.kill('SIGTERM')
    throw error
  } finally {
    keeper.stdout!.destroy()
    keeper.unref()
  }
}

const describe = (p: Problem) => `This machine lacks ${p.missing}.\n  To mend it: ${p.fix}`

function follow(
  output: NodeJS.ReadableStream,
  progress: (step: string) => void,
  state: WorldState,
): Promise<RunningWorld> {
  return new Promise<RunningWorld>((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer)
      reject(new FairwayError('up_failed', why))
    }
    const timer = setTimeout(
      () =>
        fail(`the world was not ready after ${UP_TIMEOUT_MS / 1000} s; its logs: ${state.logDir}`),
      UP_TIMEOUT_MS,
    )
    const lines = createInterface({ input: output })
    lines.on('line', (line) => {
      const message = JSON.parse(line) as { step?: string; failed?: string; ready?: RunningWorld }
      if (message.step) progress(message.step)
      if (message.failed) fail(message.failed)
      if (!message.ready) return
      clearTimeout(timer)
      resolve(message.ready)
    })
    lines.on('close', () =>
      fail(`the world did not start; its log: ${join(state.logDir, 'world.log')}`),
    )
  })
}

/** Ends a world and everything of it; true when there was one. */
export async function stopWorld(state: WorldState): Promise<boolean> {
  const running = runningWorld(state)
  if (running) {
    process.kill(running.keeperPid, 'SIGTERM')
    await until(
      () => startTime(running.keeperPid) !== running.keeperStart,
      DOWN_TIMEOUT_MS,
      () => {
        process.kill(running.keeperPid, 'SIGKILL')
      },
    )
  }
  await removeLeftovers(state, running?.pidNamespace)
  return running !== undefined
}

/** What a world that was killed may have left: processes that are still dying, sockets, cgroups. */
async function removeLeftovers(state: WorldState, namespace = readNamespace(state)): Promise<void> {
  if (namespace)
    await until(
      () => processesIn(namespace).length === 0,
      DOWN_TIMEOUT_MS,
      () => {},
    )
  for (const path of [
    state.runFile,
    state.worldSocket,
    state.appsSocket,
    state.apiSocket,
    state.cliFile,
  ]) {
    rmSync(path, { force: true })
  }
  CgroupRoot.remove(state.dir)
}

function readNamespace(state: WorldState): string | undefined {
  try {
    return (JSON.parse(readFileSync(state.runFile, 'utf8')) as RunningWorld).pidNamespace
  } catch {
    return undefined
  }
}

/** Processes that live in a PID namespace, by its link text (`pid:[4026532217]`). */
export function processesIn(pidNamespace: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/pid`) === pidNamespace
      } catch {
        return false
      }
    })
}

async function until(done: () => boolean, timeoutMs: number, onTimeout: () => void): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!done()) {
    if (Date.now() > deadline) {
      onTimeout()
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The running world of this state folder; an error that says how to start one otherwise. */
export function requireWorld(state: WorldState): RunningWorld {
  const running = runningWorld(state)
  if (!running)
    throw new FairwayError(
      'no_world',
      `no world is running (state: ${state.dir}); start one with: npm run up`,
    )
  return running
}

/** Asks the world's supervisor. */
export function ask(state: WorldState, request: WorldRequest): Promise<{ places?: PlaceStatus[] }> {
  if (!existsSync(state.worldSocket)) requireWorld(state)
  return new Promise((resolve, reject) => {
    const socket = connect(state.worldSocket)
    let text = ''
    socket.setTimeout(REQUEST_TIMEOUT_MS, () =>
      socket.destroy(new Error('the world did not answer in time')),
    )
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.on('end', () => {
      const body = JSON.parse(text) as { error?: string; places?: PlaceStatus[] }
      if (body.error) reject(new FairwayError('world', body.error))
      else resolve(body)
    })
    socket.write(`${JSON.stringify(request)}\n`)
  })
}

/** The argv that runs a command at a place of a running world, from outside. */
export function execArgv(
  running: RunningWorld,
  place: string,
  command: readonly string[],
): string[] {
  return [
    'nsenter',
    '--target',
    String(running.initPid),
    ...(running.rootless ? ['--user', '--preserve-credentials'] : []),
    '--mount',
    '--net',
    '--pid',
    '--ipc',
    `--wd=${process.cwd()}`,
    ...atPlace(place, command),
  ]
}
