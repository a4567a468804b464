import type { MachineConfig } from '../model/machine-config.ts'
import { type ApiMachine, groupOf, isProvisional } from './api-types.ts'
import { belowMinimum, minimumOf, runningIn, toStart } from './minimum.ts'
import { rests, type Step } from './steps.ts'

/**
 * Every machine of a group that fly.toml has is updated; a group without machines gets one (two with
 * --ha when it has services); machines of groups that are gone, and those that a deploy which was
 * killed had not made part of the app yet, are destroyed last.
 */
export function planSteps(
  configs: Readonly<Record<string, MachineConfig>>,
  machines: readonly ApiMachine[],
  region: string,
  ha: boolean,
): Step[] {
  const isLeft = (machine: ApiMachine) => !(groupOf(machine)! in configs) || isProvisional(machine)
  const changes = Object.entries(configs).flatMap(([group, config]): Step[] => {
    const mine = machines.filter((machine) => groupOf(machine) === group && !isLeft(machine))
    if (mine.length > 0) {
      const starts = toStart(minimumOf(config), mine)
      return mine.map((machine) => ({
        ...{ kind: 'update', machine, config },
        ...(starts.has(machine.id) && { starts: true }),
      }))
    }
    const count = ha && config.services?.length ? 2 : 1
    return Array.from({ length: count }, () => ({ kind: 'create', group, region, config }))
  })
  const gone = machines.filter(isLeft)
  return [...changes, ...gone.map((machine): Step => ({ kind: 'destroy', machine }))]
}

/** What to say of groups that run fewer machines after these steps than `min_machines_running`. */
export function minimumWarnings(
  configs: Readonly<Record<string, MachineConfig>>,
  steps: readonly Step[],
): string[] {
  return Object.entries(configs).flatMap(([group, config]) => {
    const minimum = minimumOf(config)
    if (!minimum) return []
    const running = steps.filter((step) => {
      if (step.kind === 'create') return step.group === group && step.region === minimum.region
      if (step.kind === 'destroy' || groupOf(step.machine) !== group) return false
      return step.machine.region === minimum.region && !rests(step)
    })
    return belowMinimum(minimum, group, running.length) ?? []
  })
}

/** The same for groups of machines as they are. */
export function minimumWarningsOf(machines: readonly ApiMachine[]): string[] {
  const groups = Map.groupBy(machines, (machine) => groupOf(machine)!)
  return [...groups].flatMap(([group, mine]) => {
    const minimum = minimumOf(mine[0]!.config)
    return belowMinimum(minimum, group, runningIn(minimum?.region ?? '', mine)) ?? []
  })
}
