import type { MachineConfig } from '../model/machine-config.ts'
import type { ApiMachine } from './api-types.ts'

/**
 * `min_machines_running`: so many machines of a group are to run in the primary region. As on Fly it
 * says nothing where autostop is off (A5, X7), or of other regions (S13).
 */
export interface Minimum {
  readonly count: number
  readonly region: string
}

/** The minimum of a group, by its machines' config: the largest of its services'. */
export function minimumOf(config: MachineConfig): Minimum | undefined {
  const region = config.env?.PRIMARY_REGION
  const counts = (config.services ?? [])
    .filter(({ autostop }) => autostop === true || autostop === 'stop' || autostop === 'suspend')
    .map((service) => service.min_machines_running ?? 0)
  const count = Math.max(0, ...counts)
  return count > 0 && region !== undefined ? { count, region } : undefined
}

/** Those that are to be started so that the minimum runs, as far as there are machines to start. */
export function toStart(minimum: Minimum | undefined, group: readonly ApiMachine[]): Set<string> {
  if (!minimum) return new Set()
  const here = group.filter((machine) => machine.region === minimum.region)
  const missing = minimum.count - here.filter(isUp).length
  const resting = here.filter((machine) => !isUp(machine))
  return new Set(resting.slice(0, Math.max(0, missing)).map(({ id }) => id))
}

/** What to say when fewer run, or will run, than the minimum; undefined when enough do. */
export function belowMinimum(
  minimum: Minimum | undefined,
  name: string,
  running: number,
): string | undefined {
  if (!minimum || running >= minimum.count) return undefined
  const machines = running === 1 ? '1 machine' : `${running} machines`
  return (
    `Warning: ${machines} of group ${name} in ${minimum.region} started, while ` +
    `min_machines_running is ${minimum.count}. \`fairway scale count\` and \`fairway machine ` +
    'start` change that.'
  )
}

const isUp = ({ state }: ApiMachine): boolean => state === 'started' || state === 'starting'

/** How many of a group run in a region. */
export const runningIn = (region: string, group: readonly ApiMachine[]): number =>
  group.filter((machine) => machine.region === region && isUp(machine)).length
