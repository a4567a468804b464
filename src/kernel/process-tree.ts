import { readdirSync, readFileSync } from 'node:fs'

/** A tree that still grows after so many looks belongs to a fork bomb; what was seen is killed. */
const LOOKS_MAX = 100

/**
 * Kills a process and everything that descends from it. All are stopped before the first is killed,
 * so that none forks on, and none escapes to another parent when its own ends.
 */
export function killTree(root: number): void {
  const stopped = new Set<number>()
  for (let look = 0; look < LOOKS_MAX; look++) {
    const fresh = descendants(root, parents()).filter((pid) => !stopped.has(pid))
    if (fresh.length === 0) break
    for (const pid of fresh) {
      stopped.add(pid)
      signal(pid, 'SIGSTOP')
    }
  }
  for (const pid of stopped) signal(pid, 'SIGKILL')
}

/** `root` and what is below it. */
export function descendants(root: number, parentOf: ReadonlyMap<number, number>): number[] {
  const children = new Map<number, number[]>()
  for (const [pid, parent] of parentOf) {
    const list = children.get(parent)
    if (list) list.push(pid)
    else children.set(parent, [pid])
  }
  const found = parentOf.has(root) ? [root] : []
  for (const pid of found) found.push(...(children.get(pid) ?? []))
  return found
}

function parents(): Map<number, number> {
  const map = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = parentOf(name)
    if (parent !== undefined) map.set(Number(name), parent)
  }
  return map
}

function parentOf(pid: string): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything, spaces and parentheses included.
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined // It has ended.
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
