import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { totalmem } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { messageOf } from '../base/errors.ts'

/** A cgroup hierarchy that is mounted: one of v1's, or v2's (`controllers` empty). */
export interface Hierarchy {
  readonly path: string
  readonly version: 1 | 2
  readonly controllers: readonly string[]
}

const V1_CONTROLLERS = new Set(
  'cpu cpuacct cpuset memory devices freezer blkio pids net_cls net_prio perf_event hugetlb rdma misc'.split(
    ' ',
  ),
)
/** What a machine is limited by. */
const NEEDED = ['memory', 'pids'] as const

/** The mounted hierarchies, from the text of /proc/self/mountinfo. */
export function parseHierarchies(mountinfo: string): Hierarchy[] {
  const found: Hierarchy[] = []
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const path = before.split(' ')[4]
    const [type, , superOptions = ''] = after.split(' ')
    if (!path) continue
    if (type === 'cgroup2') found.push({ path, version: 2, controllers: [] })
    if (type === 'cgroup') {
      const controllers = superOptions.split(',').filter((option) => V1_CONTROLLERS.has(option))
      found.push({ path, version: 1, controllers })
    }
  }
  return found
}

export type CgroupAnswer =
  | { readonly usable: true }
  /** Machines then run without limits of memory and processes. */
  | { readonly usable: false; readonly reason: string }

/** What the machine has, of which all Fairway machines together get a share. */
export interface HostTotals {
  readonly memoryBytes: number
  readonly pids: number
}
/** The rest is for edges, agents and the operator, whatever machines were promised. */
const MEMORY_SHARE = 0.8
const PIDS_SHARE = 0.5

/**
 * Makes `root` (an absolute path inside every hierarchy) and finds out whether machines below it
 * can be limited. v1 and hybrid: all hierarchies must take it, as the runtime joins them all. v2:
 * memory and pids must be handed down to it.
 */
export function prepareCgroups(
  root: string,
  hierarchies: readonly Hierarchy[] = mounted(),
  totals: HostTotals = hostTotals(),
): CgroupAnswer {
  if (hierarchies.length === 0) return { usable: false, reason: 'no cgroup hierarchy is mounted' }
  try {
    for (const { path } of hierarchies) mkdirSync(join(path, root), { recursive: true })
    const v1 = new Set(hierarchies.flatMap(({ controllers }) => controllers))
    if (!NEEDED.every((name) => v1.has(name))) {
      const unified = hierarchies.find(({ version }) => version === 2)
      if (!unified) return { usable: false, reason: 'neither memory nor pids can be limited' }
      handDown(unified.path, root)
    }
    limitTotals(root, hierarchies, totals)
    return { usable: true }
  } catch (error) {
    removeCgroups(root, hierarchies)
    return { usable: false, reason: messageOf(error) }
  }
}

/** Limits the topmost group of ours, which several hosts share when they are on one machine. */
function limitTotals(
  root: string,
  hierarchies: readonly Hierarchy[],
  { memoryBytes, pids }: HostTotals,
): void {
  const top = root.split('/').find(Boolean) ?? ''
  const v1 = (name: string) => hierarchies.find(({ controllers }) => controllers.includes(name))
  const set = (controller: string, v1File: string, v2File: string, value: number) => {
    const own = v1(controller)
    const unified = hierarchies.find(({ version }) => version === 2)
    const file = own ? join(own.path, top, v1File) : join((unified as Hierarchy).path, top, v2File)
    writeFileSync(file, String(Math.floor(value)))
  }
  set('memory', 'memory.limit_in_bytes', 'memory.max', memoryBytes * MEMORY_SHARE)
  set('pids', 'pids.max', 'pids.max', pids * PIDS_SHARE)
}

function hostTotals(): HostTotals {
  const read = (name: string) => Number(readFileSync(`/proc/sys/kernel/${name}`, 'utf8'))
  return { memoryBytes: totalmem(), pids: Math.min(read('pid_max'), read('threads-max')) }
}

function handDown(mountPath: string, root: string): void {
  const parts = root.split('/').filter(Boolean)
  const hasCpu = readFileSync(join(mountPath, 'cgroup.controllers'), 'utf8')
    .split(/\s+/)
    .includes('cpu')
  for (let i = 0; i <= parts.length; i++) {
    const control = join(mountPath, ...parts.slice(0, i), 'cgroup.subtree_control')
    writeFileSync(control, NEEDED.map((name) => `+${name}`).join(' '))
    if (hasCpu) handDownCpu(control)
  }
}

/**
 * Without it each process of a machine would weigh as much as an edge. The kernel refuses while
 * processes with real-time priority run, and machines then only lack this.
 */
function handDownCpu(control: string): void {
  try {
    writeFileSync(control, '+cpu')
  } catch {
    // As said.
  }
}

/** Removes `root` and what is below it from every hierarchy. Groups with processes stay. */
export function removeCgroups(root: string, hierarchies: readonly Hierarchy[] = mounted()): void {
  for (const { path } of hierarchies) {
    const top = join(path, root)
    if (relative(path, top) === '' || !existsSync(top)) continue
    for (const folder of foldersDepthFirst(top)) removeFolder(folder)
    // Parents that only we made; another host's groups keep them.
    for (let up = dirname(top); up !== path && up.length > path.length; up = dirname(up))
      if (!removeFolder(up)) break
  }
}

function removeFolder(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch {
    return false
  }
}

function foldersDepthFirst(folder: string): string[] {
  const below = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => foldersDepthFirst(join(folder, entry.name)))
  return [...below, folder]
}

function mounted(): Hierarchy[] {
  return parseHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'))
}
