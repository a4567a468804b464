import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { processesIn } from '../../src/world/control.ts'
import { runningWorld, worldState } from '../../src/world/state.ts'
import type { TestWorld } from '../support/world.ts'
import type { Live } from './collect.ts'

const COLLECT = join(import.meta.dirname, 'collect.ts')

/** What a process holds once it has collected its garbage. */
export interface Sample extends Live {
  readonly rssMb: number
  readonly descriptors: number
}

export interface WatchedProcess {
  readonly name: string
  readonly pid: number
  /** Where its inspector can be reached. */
  readonly place: string
}

/** The processes of a world that began with one of these files and whose configuration names a place. */
export function findProcesses(
  stateDir: string,
  wanted: readonly { readonly name: string; readonly file: string; readonly place: string }[],
): WatchedProcess[] {
  const running = runningWorld(worldState(stateDir))
  if (!running) throw new Error(`no world runs in ${stateDir}`)
  const commands = processesIn(running.pidNamespace).map((pid) => ({ pid, argv: argvOf(pid) }))
  return wanted.map(({ name, file, place }) => {
    const found = commands.filter(
      ({ argv }) =>
        argv.some((word) => word.endsWith(file)) &&
        argv.some((word) => word.split(/[/.]/).includes(place)),
    )
    if (found.length !== 1) throw new Error(`${found.length} processes are ${name}, not one`)
    return { name, pid: found[0]!.pid, place }
  })
}

const argvOf = (pid: number): string[] => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/**
 * What heaps have not collected yet says nothing of what is lost: it is collected first. Throws when
 * the process is another one by now.
 */
export async function sample(
  { exec }: Pick<TestWorld, 'exec'>,
  watched: WatchedProcess,
): Promise<Sample> {
  const { name, pid, place } = watched
  try {
    process.kill(pid, 'SIGUSR1')
    const { stdout } = await exec(place, [process.execPath, COLLECT])
    const [, kb = '0'] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return {
      ...(JSON.parse(stdout) as Live),
      rssMb: Math.round(Number(kb) / 1024),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
    }
  } catch (cause) {
    throw new Error(`${name} (${pid}) cannot be looked at`, { cause })
  }
}
