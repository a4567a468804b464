import { constants } from 'node:os'
import { DURATION } from '../duration.ts'
import { locate } from './locate.ts'
import { type Path, type Problem, pathText, shown } from './problem.ts'
import { checkGroups, type Report } from './report.ts'
import type { AppConfig } from './schema.ts'
import { checkChecks } from './validate-checks.ts'
import { checkCommand } from './validate-command.ts'
import { checkDeploy } from './validate-deploy.ts'
import { checkMachineChecks } from './validate-machine-checks.ts'
import { checkServices } from './validate-services.ts'
import { checkVm } from './validate-vm.ts'

/**
 * What is wrong with the values of a fly.toml: what flyctl checks itself and what it leaves to the
 * server (flyctl-api 7.3). With the file's text, problems carry lines.
 */
export function validate(config: AppConfig, text?: string): Problem[] {
  const problems: Problem[] = []
  const add = (severity: Problem['severity']) => (path: Path, message: string, fix: string) => {
    const line = text === undefined ? undefined : locate(text, path)
    problems.push({ severity, path: pathText(path), message, fix, ...(line && { line }) })
  }
  const report: Report = { error: add('error'), warning: add('warning') }
  for (const check of [
    checkNames,
    checkEnv,
    checkProcesses,
    checkServices,
    checkChecks,
    checkMachineChecks,
    checkVm,
    checkRestart,
    checkDeploy,
    checkStop,
  ])
    check(config, report)
  return problems
}

/**
 * Sections that this version does not act on. A deploy that ignored them would surprise, so `deploy`
 * refuses them; `config validate` names them as warnings.
 */
export function unsupported(config: AppConfig): Problem[] {
  const problems: Problem[] = []
  const add = (path: string, message: string, fix: string) =>
    problems.push({ severity: 'error', path, message, fix })
  if (config.build && Object.keys(config.build).length > 0) {
    const keys = Object.keys(config.build).join(', ')
    const fix =
      'Remove [build] and give the command in [processes]: the folder of fly.toml is deployed as it is.'
    add('build', `images are not built or pulled yet (${keys})`, fix)
  }
  if (config.image !== undefined) {
    const fix = 'Remove it: the folder of fly.toml is deployed as it is.'
    add('image', `${shown(config.image)}: images of a registry cannot be run yet`, fix)
  }
  if (config.mounts && config.mounts.length > 0) {
    add('mounts', 'volumes are not there yet', 'Remove [mounts]; /tmp is writable but not kept.')
  }
  for (const key of ['files', 'statics'] as const) {
    if (!config[key]?.length) continue
    add(key, 'not there yet', `Remove [[${key}]] and let the app serve or ship the files itself.`)
  }
  return problems
}

function checkNames(config: AppConfig, { error }: Report): void {
  const { app } = config
  if (app !== undefined && !/^[a-z0-9][a-z0-9-]{0,62}$/.test(app)) {
    const fix = 'Use up to 63 lower-case letters, digits and dashes, such as app = "hello".'
    error(['app'], `${shown(app)} is not an app name`, fix)
  }
  const region = config.primary_region
  if (region !== undefined && !/^[a-z0-9-]{1,32}$/.test(region)) {
    const fix = 'Use the code of a region; `fairway regions list` has them.'
    error(['primary_region'], `${shown(region)} is not a region code`, fix)
  }
}

function checkEnv(config: AppConfig, { error, warning }: Report): void {
  for (const name of Object.keys(config.env ?? {})) {
    const path = ['env', name]
    if (name.startsWith('FLY_')) {
      // N18: these are the platform's, so a value here would be lost.
      error(path, 'names that begin with FLY_ belong to the platform', 'Choose another name.')
    } else if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      error(path, 'not a name of a variable', 'Use letters, digits and _, not a digit first.')
    } else if (name === 'PRIMARY_REGION' && config.primary_region) {
      warning(path, 'overwritten by primary_region (N16)', 'Remove one of the two.')
    }
  }
}

function checkProcesses(config: AppConfig, { error }: Report): void {
  if (config.processes && Object.keys(config.processes).length === 0) {
    error(['processes'], 'has no group', 'Add a line such as app = "node server.js", or remove it.')
  }
  for (const [name, command] of Object.entries(config.processes ?? {})) {
    const path = ['processes', name]
    if (!/^[A-Za-z0-9_-]{1,63}$/.test(name)) {
      error(path, 'not a name of a process group', 'Use letters, digits, - and _.')
    }
    checkCommand(path, command, error)
  }
  if (config.console_command) checkCommand(['console_command'], config.console_command, error)
}

const RESTART_POLICIES = ['always', 'on-failure', 'never', 'no']

function checkRestart(config: AppConfig, report: Report): void {
  for (const [i, restart] of (config.restart ?? []).entries()) {
    checkGroups(config, ['restart', i, 'processes'], restart.processes, report)
    if (restart.policy !== undefined && !RESTART_POLICIES.includes(restart.policy)) {
      const fix = 'Use "always", "on-failure" or "never".'
      report.error(['restart', i, 'policy'], `${shown(restart.policy)} is not a policy`, fix)
    }
    if (restart.retries !== undefined && restart.retries < 0) {
      report.error(['restart', i, 'retries'], `${restart.retries} is negative`, 'Use 0 or more.')
    }
  }
}

function checkStop(config: AppConfig, { error }: Report): void {
  const { kill_signal: signal, kill_timeout: timeout } = config
  if (signal !== undefined && !(signal in constants.signals)) {
    const fix = 'Use a name such as "SIGINT", "SIGTERM" or "SIGQUIT".'
    error(['kill_signal'], `${shown(signal)} is not a signal`, fix)
  }
  if (timeout !== undefined && !DURATION.test(timeout)) {
    const fix = 'Use seconds or a duration such as "30s".'
    error(['kill_timeout'], `${shown(timeout)} is not a duration`, fix)
  }
}
