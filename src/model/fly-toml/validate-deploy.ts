import { parseDuration } from '../duration.ts'
import { shown } from './problem.ts'
import type { Report } from './report.ts'
import type { AppConfig } from './schema.ts'
import { checkCommand } from './validate-command.ts'
import { checkSize } from './validate-vm.ts'

const STRATEGIES = ['canary', 'rolling', 'immediate', 'bluegreen']

/** [deploy]: strategy, release command and their limits. */
export function checkDeploy(config: AppConfig, report: Report): void {
  checkStrategy(config, report)
  const { error } = report
  const { deploy } = config
  if (!deploy) return
  if (deploy.release_command !== undefined)
    checkCommand(['deploy', 'release_command'], deploy.release_command, error)
  for (const key of ['release_command_timeout', 'wait_timeout'] as const) {
    const value = deploy[key]
    if (value === undefined || (parseDuration(value) ?? 0) > 0) continue
    error(['deploy', key], `${shown(value)} is not a duration`, 'Use one such as "5m" or "90s".')
  }
  if (deploy.release_command_vm)
    checkSize(['deploy', 'release_command_vm'], deploy.release_command_vm, report)
  const max = deploy.max_unavailable
  if (max !== undefined && !(max > 0 && (max < 1 || Number.isInteger(max)))) {
    const fix = 'Use a number of machines such as 2, or a part of them such as 0.33.'
    error(['deploy', 'max_unavailable'], `${max} is no number of machines`, fix)
  }
}

function checkStrategy(config: AppConfig, { error }: Report): void {
  const strategy = config.deploy?.strategy
  if (strategy === undefined) return
  const path = ['deploy', 'strategy']
  if (!STRATEGIES.includes(strategy)) {
    error(path, `${shown(strategy)} is not a strategy`, `Use one of ${STRATEGIES.join(', ')}.`)
    return
  }
  // S39: neither can give the new machines the old ones' volumes.
  if ((strategy === 'canary' || strategy === 'bluegreen') && config.mounts?.length) {
    error(path, `${strategy} does not work with [mounts]`, 'Use "rolling", or remove [mounts].')
  }
  if (strategy === 'bluegreen' && !hasChecks(config)) {
    const fix = 'Add [[http_service.checks]] with a path, or use "rolling".'
    error(path, 'bluegreen needs at least one check, which says when to switch', fix)
  }
}

/** S39: what says that the new machines may take over. */
const hasChecks = (config: AppConfig): boolean =>
  Object.keys(config.checks ?? {}).length > 0 ||
  (config.http_service?.checks?.length ?? 0) > 0 ||
  (config.services ?? []).some((s) => s.tcp_checks?.length || s.http_checks?.length)
