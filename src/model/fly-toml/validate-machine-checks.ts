import { constants } from 'node:os'
import { DURATION } from '../duration.ts'
import { type Path, shown } from './problem.ts'
import type { Report } from './report.ts'
import type { AppConfig, MachineCheck } from './schema.ts'

/** Each of them costs a machine, for each machine that a deploy changes. */
export const MACHINE_CHECKS_MAX = 8
/** Strategies that wait for one machine before they touch the next, so that a failure saves some. */
const CHECKING = new Set<string | undefined>([undefined, 'rolling', 'canary'])

/** [[machine_checks]], of services and of the app (S38). */
export function checkMachineChecks(config: AppConfig, report: Report): void {
  const places: readonly (readonly [Path, readonly MachineCheck[] | undefined])[] = [
    [['machine_checks'], config.machine_checks],
    [['http_service', 'machine_checks'], config.http_service?.machine_checks],
    ...(config.services ?? []).map((service, i): [Path, readonly MachineCheck[] | undefined] => [
      ['services', i, 'machine_checks'],
      service.machine_checks,
    ]),
  ]
  const given = places.filter(([, checks]) => checks?.length)
  for (const [path, checks] of given) {
    if (checks!.length > MACHINE_CHECKS_MAX) {
      const fix = `Use at most ${MACHINE_CHECKS_MAX}; one command may look at several things.`
      report.error(
        [...path, MACHINE_CHECKS_MAX],
        `${checks!.length} machine checks are too many`,
        fix,
      )
    }
    for (const [i, check] of checks!.entries()) checkOne(check, [...path, i], report)
  }
  const strategy = config.deploy?.strategy
  if (given.length === 0 || CHECKING.has(strategy)) return
  const fix = 'Use the strategy "rolling" or "canary", or remove them.'
  report.warning(
    given[0]![0],
    `a deploy of strategy ${shown(strategy)} runs no machine checks`,
    fix,
  )
}

function checkOne(check: MachineCheck, path: Path, { error }: Report): void {
  const { command, entrypoint, kill_signal: signal, kill_timeout: timeout } = check
  if (!command?.length && !entrypoint?.length) {
    const fix = 'Add command = ["node", "check.js"]; FLY_TEST_MACHINE_IP is the address to look at.'
    error([...path, 'command'], 'is missing, so nothing would be checked', fix)
  }
  if (signal !== undefined && !(signal in constants.signals)) {
    const fix = 'Use a name such as "SIGINT", "SIGTERM" or "SIGKILL".'
    error([...path, 'kill_signal'], `${shown(signal)} is not a signal`, fix)
  }
  if (timeout !== undefined && !DURATION.test(timeout)) {
    const fix = 'Use seconds or a duration such as "5s".'
    error([...path, 'kill_timeout'], `${shown(timeout)} is not a duration`, fix)
  }
}
