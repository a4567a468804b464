import { groupsOf } from './groups.ts'
import { isGroup } from './guest.ts'
import { type Path, shown } from './problem.ts'
import type { AppConfig } from './schema.ts'

/** Collects problems; paths are of the config as `parse` returned it. */
export interface Report {
  error(path: Path, message: string, fix: string): void
  warning(path: Path, message: string, fix: string): void
}

/** S9: a section may only name groups that [processes] has. */
export function checkGroups(
  config: AppConfig,
  path: Path,
  processes: readonly string[] | undefined,
  { error }: Report,
): void {
  for (const name of processes ?? []) {
    if (isGroup(config, name)) continue
    const fix = `Use one of ${groupsOf(config).map(shown).join(', ')}, or add it to [processes].`
    error(path, `${shown(name)} is not a process group`, fix)
  }
}
