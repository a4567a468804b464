import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** What benchmarks have in common: where things run, what they cost, how rounds are compared. */

export const PROXY_CORE = '0'
export const LOAD_CORE = '1'

/** The process itself, not a parent of it, so that its CPU time is what is read. */
export function pinned(core: string, argv: readonly string[], dir: string): ChildProcess {
  const child = spawn('taskset', ['-c', core, ...argv], {
    stdio: ['ignore', 'pipe', 'ignore'],
    // One worker each: Go would take as many threads as there are cores.
    env: { ...process.env, GOMAXPROCS: '1', HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
  })
  child.on('error', (error) => console.error(`${argv[0]}: ${error.message}`))
  child.stdout!.resume()
  return child
}

/** User and system time of a process with all its threads. */
export function cpuUs(pid: number): { user: number; sys: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // USER_HZ is 100 on every Linux that Node runs on.
  return { user: Number(fields[11]) * 10_000, sys: Number(fields[12]) * 10_000 }
}

export function residentMb(pid: number): number {
  const kb = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Math.round(Number(kb) / 1024)
}

/** Ours to theirs: the median of each round's own ratio. Rounds of both lie seconds apart. */
export const medianRatio = <R>(
  ours: readonly R[],
  theirs: readonly R[],
  of: (round: R) => number,
): number => median(theirs.map((round, i) => of(ours[i]!) / of(round)))

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0

export interface Percentiles {
  readonly n: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

export function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]! * 100) / 100
  return { n: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) }
}
