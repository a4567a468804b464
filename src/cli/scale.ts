import type { MachineConfig } from '../model/machine-config.ts'
import type { ApiMachine } from './api-types.ts'
import { createMachine, machinePath, waitForChecks, waitForState } from './machines.ts'
import type { Session } from './session.ts'

export type ScaleStep =
  | { readonly kind: 'create'; readonly region: string; readonly config: MachineConfig }
  | { readonly kind: 'destroy'; readonly machine: ApiMachine }

export interface ScaleInput {
  readonly group: string
  readonly total: number
  /** Regions that the count is for; empty: those where the group is. */
  readonly regions: readonly string[]
  /** Machines of the group, in any region. */
  readonly machines: readonly ApiMachine[]
  readonly template: MachineConfig
}

/** How many of `total` each region gets: evenly, the rest to the first ones. */
export function spread(total: number, regions: readonly string[]): Map<string, number> {
  const share = Math.floor(total / regions.length)
  const rest = total % regions.length
  return new Map(regions.map((region, i) => [region, share + (i < rest ? 1 : 0)]))
}

/** The same without regions given: as few changes as possible, smallest region first to grow. */
export function adjust(total: number, here: ReadonlyMap<string, number>): Map<string, number> {
  const counts = new Map(here.size > 0 ? here : [['', 0]])
  const sum = () => [...counts.values()].reduce((a, b) => a + b, 0)
  const by = (sign: number) =>
    [...counts.keys()].sort((a, b) => sign * (counts.get(a)! - counts.get(b)!))
  while (sum() < total) {
    const [smallest = ''] = by(1)
    counts.set(smallest, counts.get(smallest)! + 1)
  }
  while (sum() > total) {
    const [largest = ''] = by(-1)
    counts.set(largest, counts.get(largest)! - 1)
  }
  return counts
}

/**
 * What takes a group to `total` machines. With regions given they are spread evenly over these, and
 * machines elsewhere are not touched. Creations come before destructions, so that the app never has
 * fewer than it should; of a region's machines those that do not run go first, then the newest.
 */
export function scaleSteps({ total, regions, machines, template }: ScaleInput): ScaleStep[] {
  const here = countBy(machines)
  const wanted = regions.length > 0 ? spread(total, regions) : adjust(total, here)
  const creates = [...wanted].flatMap(([region, count]) =>
    Array.from(
      { length: Math.max(0, count - (here.get(region) ?? 0)) },
      (): ScaleStep => ({ kind: 'create', region, config: template }),
    ),
  )
  const destroys = [...wanted].flatMap(([region, count]) =>
    surplus(
      machines.filter((machine) => machine.region === region),
      count,
    ),
  )
  return [...creates, ...destroys.map((machine): ScaleStep => ({ kind: 'destroy', machine }))]
}

function countBy(machines: readonly ApiMachine[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { region } of machines) counts.set(region, (counts.get(region) ?? 0) + 1)
  return counts
}

function surplus(machines: readonly ApiMachine[], keep: number): readonly ApiMachine[] {
  const rank = (machine: ApiMachine) => (machine.state === 'started' ? 0 : 1)
  const oldestFirst = [...machines].sort(
    (a, b) => rank(a) - rank(b) || a.created_at.localeCompare(b.created_at),
  )
  return oldestFirst.slice(keep)
}

/** Creates all at once and waits for them, then destroys. */
export async function takeSteps(
  session: Session,
  steps: readonly ScaleStep[],
  waitTimeoutMs: number,
): Promise<void> {
  const creates = steps.filter((step) => step.kind === 'create')
  const made = await Promise.all(
    creates.map(async ({ config, region }) => {
      const machine = await createMachine(session, { config, ...(region && { region }) })
      session.note(`Created machine ${machine.id} in ${machine.region}`)
      return machine
    }),
  )
  const up = Promise.all(
    made.map(async ({ id, instance_id: instanceId }) => {
      await waitForState(session, id, 'started', { timeoutMs: waitTimeoutMs, instanceId })
      await waitForChecks(session, id, waitTimeoutMs)
    }),
  )
  await session.during('Waiting for the machines to start and pass their checks', up)
  for (const step of steps) {
    if (step.kind !== 'destroy') continue
    const path = machinePath(session, step.machine.id)
    await session.client.request('DELETE', path, { query: { kill: true } })
    session.note(`Destroyed machine ${step.machine.id} in ${step.machine.region}`)
  }
}
