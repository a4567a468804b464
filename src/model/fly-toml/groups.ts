import type { AppConfig } from './schema.ts'

/** The process group of an app whose fly.toml has no [processes]. */
export const DEFAULT_GROUP = 'app'

export const groupsOf = (config: AppConfig): readonly string[] => {
  const names = Object.keys(config.processes ?? {})
  return names.length > 0 ? names : [DEFAULT_GROUP]
}

/** What a section without `processes` belongs to (flyctl-api 7.2): `app`, else the first group. */
export function defaultGroup(config: AppConfig): string {
  const names = groupsOf(config)
  return names.includes(DEFAULT_GROUP) ? DEFAULT_GROUP : names[0]!
}

export function groupsOfSection(
  config: AppConfig,
  processes: readonly string[] | undefined,
): readonly string[] {
  return processes && processes.length > 0 ? processes : [defaultGroup(config)]
}
