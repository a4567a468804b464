import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, readdirSync, rmdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const MOUNT = '/sys/fs/cgroup'

/** The cgroups of a world's machines: all under one parent, so that `down` can take them away. */
export const CgroupRoot = {
  /** A path below the hierarchies' roots for one host's machines, or null where we may not make any. */
  forHost(stateDir: string, host: string): string | null {
    return writable() ? `${parentOf(stateDir)}/${host}` : null
  },

  /** Removes what is left of a world's cgroups. Only empty ones can go: call it when all has ended. */
  remove(stateDir: string): void {
    if (!writable()) return
    for (const root of hierarchies()) removeTree(join(root, parentOf(stateDir)))
  },
}

const parentOf = (stateDir: string) =>
  `/fairway-${createHash('sha256').update(stateDir).digest('hex').slice(0, 12)}`

function writable(): boolean {
  if (process.getuid?.() !== 0 || !existsSync(MOUNT)) return false
  // Inside a user namespace root is somebody else to the cgroup file system.
  try {
    for (const root of hierarchies()) accessSync(root, constants.W_OK)
    return hierarchies().every((root) => statSync(root).uid === 0) && hierarchies().length > 0
  } catch {
    return false
  }
}

/** One root with cgroup v2; one per controller with v1 and hybrid. */
function hierarchies(): string[] {
  if (existsSync(join(MOUNT, 'cgroup.controllers'))) return [MOUNT]
  return readdirSync(MOUNT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(MOUNT, entry.name))
}

function removeTree(dir: string): void {
  if (!existsSync(dir)) return
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(dir, entry.name))
  }
  try {
    rmdirSync(dir)
  } catch {
    // Something still runs in it; the next `down` or `up` tries again.
  }
}
