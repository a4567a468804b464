/** One line of /proc/self/uid_map: `count` ids from `inside` on. */
export interface IdRange {
  readonly inside: number
  readonly count: number
}

const FULL_MAP = 4_294_967_295
/**
 * Far from people and services, from what /etc/subuid gives to users (100,000 and on: whoever holds
 * such a range may signal and trace its processes) and from what systemd gives to containers (below).
 */
const FIRST_UID = 0x7000_0000
/** Slots of one host (its /20 holds two addresses for each). */
export const SLOTS_PER_HOST = 2048

export function parseIdMap(text: string): IdRange[] {
  return text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([inside = 0, , count = 0]) => ({ inside, count }))
}

/** Inside a user namespace some of root's powers are missing, and the runtime has to be told. */
export const inUserNamespace = (map: readonly IdRange[]): boolean =>
  !map.some((range) => range.inside === 0 && range.count === FULL_MAP)

/**
 * The uid (and gid) of a machine: its own on this kernel where enough ids are mapped, so that
 * machines cannot signal or trace each other even if their namespaces failed them. With one id
 * mapped it is 0, which is the ordinary user outside and has no capabilities inside.
 */
export function machineUid(map: readonly IdRange[], hostIndex: number, slot: number): number {
  const n = (hostIndex - 1) * SLOTS_PER_HOST + slot
  const holds = (uid: number) => map.some((r) => uid >= r.inside && uid < r.inside + r.count)
  if (holds(FIRST_UID + n)) return FIRST_UID + n
  const largest = [...map].sort((a, b) => b.count - a.count)[0]
  if (!largest || largest.count < SLOTS_PER_HOST) return 0
  // Leave out the first thousand, which are the system's in every image.
  const skipped = largest.count > 2 * SLOTS_PER_HOST ? 1_000 : 1
  return largest.inside + skipped + (n % (largest.count - skipped))
}
