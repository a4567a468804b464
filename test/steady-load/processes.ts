import { readdirSync, readFileSync } from 'node:fs'
import { processesIn } from '../../src/world/control.ts'
import { runningWorld, worldState } from '../../src/world/state.ts'

/** What a process holds, seen from outside. */
export interface Sample {
  readonly rssMb: number
  readonly descriptors: number
}

export interface WatchedProcess {
  readonly name: string
  readonly pid: number
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
        argv.some((word) => word.endsWith(file)) && argv.some((word) => word.includes(place)),
    )
    if (found.length !== 1) throw new Error(`${found.length} processes are ${name}, not one`)
    return { name, pid: found[0]!.pid }
  })
}

const argvOf = (pid: number): string[] => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

const SAMPLES = 8
const SAMPLE_EVERY_MS = 250

/**
 * The least of some samples: what is collected in a moment is no growth. Throws when the process is
 * another one by now.
 */
export async function sample({ name, pid }: WatchedProcess): Promise<Sample> {
  const samples: Sample[] = []
  for (let i = 0; i < SAMPLES; i++) {
    samples.push(sampleNow(name, pid))
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_EVERY_MS))
  }
  return {
    rssMb: Math.min(...samples.map((one) => one.rssMb)),
    descriptors: Math.min(...samples.map((one) => one.descriptors)),
  }
}

function sampleNow(name: string, pid: number): Sample {
  try {
    const [, kb = '0'] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return {
      rssMb: Math.round(Number(kb) / 1024),
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
    }
  } catch (cause) {
    throw new Error(`${name} (${pid}) is gone, though nobody ended it`, { cause })
  }
}
