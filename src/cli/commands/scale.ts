import type { Command } from 'commander'
import { VERSION } from '../../base/version.ts'
import { groupsOf } from '../../model/fly-toml/groups.ts'
import { toMachineConfigs } from '../../model/fly-toml/machine-config.ts'
import { AppConfig } from '../../model/fly-toml/schema.ts'
import type { MachineConfig } from '../../model/machine-config.ts'
import { type ApiMachine, groupOf, isProvisional } from '../api-types.ts'
import { waitTimeout } from '../deploy.ts'
import { printEgressAdvice } from '../egress-advice.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { deployedMachines } from '../machines.ts'
import { plural, table } from '../output.ts'
import { minimumWarningsOf } from '../plan-steps.ts'
import { completeRelease, RELEASES_MAX } from '../releases.ts'
import { scaleSteps, takeSteps } from '../scale.ts'
import { action, type Session } from '../session.ts'

interface CountFlags {
  readonly region?: string
  readonly processGroup?: string
  readonly waitTimeout: string
}

export function registerScale(program: Command, io: Io): void {
  const scale = program.command('scale').description('How many machines an app has, and where')
  scale
    .command('count <counts...>')
    .description('Set the number of machines: N, or GROUP=N for each group')
    .option('-r, --region <codes>', 'regions to spread them over evenly, such as iad,lhr,nrt')
    .option('--process-group <name>', 'group that a bare N is for')
    .option('--wait-timeout <time>', 'how long each machine may take', '5m')
    .action(
      action(io, (session, counts: string[], flags: CountFlags) => count(session, counts, flags)),
    )
  scale
    .command('show')
    .description('Show the machines of each group by size and region')
    .action(action(io, show))
}

async function count(session: Session, counts: readonly string[], flags: CountFlags) {
  const regions = (flags.region ?? '')
    .split(',')
    .map((r) => r.trim())
    .filter((r) => r !== '')
  if (new Set(regions).size !== regions.length) throw usage('--region names a region twice.')
  const machines = await deployedMachines(session)
  const wanted = parseCounts(counts, flags.processGroup ?? onlyGroup(machines))
  const templates = await templatesFor(session, machines, Object.keys(wanted))
  const steps = Object.entries(wanted).flatMap(([group, total]) =>
    scaleSteps({
      group,
      total,
      regions,
      machines: machines.filter((machine) => groupOf(machine) === group),
      template: templates[group]!,
    }),
  )
  if (steps.length === 0) return session.print(`${session.app} already has these machines.`)
  const creates = steps.filter((step) => step.kind === 'create').length
  for (const step of steps) {
    const region = step.kind === 'create' ? step.region : step.machine.region
    session.note(
      step.kind === 'create' ? `  +1 in ${region}` : `  -1 in ${region} (${step.machine.id})`,
    )
  }
  const destroys = steps.length - creates
  const what = [
    ...(creates ? [`create ${plural(creates, 'machine')}`] : []),
    ...(destroys ? [`destroy ${plural(destroys, 'machine')}`] : []),
  ].join(' and ')
  // Only a loss is worth a question.
  if (destroys > 0) await session.confirm(`Scale ${session.app}: ${what}?`)
  await takeSteps(session, steps, waitTimeout(flags.waitTimeout))
  session.print(
    `Scaled ${session.app}: ${what.replace('create', 'created').replace('destroy', 'destroyed')}`,
  )
  for (const line of minimumWarningsOf(await deployedMachines(session))) session.note(line)
  await printEgressAdvice(session)
}

/** `3`, `web=2`, `worker=1` as counts by group. */
export function parseCounts(items: readonly string[], bareGroup: string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) {
    const match = /^(?:([A-Za-z0-9_-]+)=)?(\d{1,4})$/.exec(item)
    if (!match) throw usage(`"${item}" is not a count. Use N or GROUP=N.`)
    const group = match[1] ?? bareGroup
    if (group in counts) throw usage(`The count of group "${group}" is given twice.`)
    counts[group] = Number(match[2])
  }
  return counts
}

function onlyGroup(machines: readonly ApiMachine[]): string {
  const groups = [...new Set(machines.map((machine) => groupOf(machine)!))]
  return groups.includes('app') || groups.length === 0 ? 'app' : groups[0]!
}

/**
 * The config for new machines of each group: that of the newest one, else that of the newest release
 * that is complete. One that failed was rolled back.
 */
async function templatesFor(
  session: Session,
  machines: readonly ApiMachine[],
  groups: readonly string[],
): Promise<Record<string, MachineConfig>> {
  const templates: Record<string, MachineConfig> = {}
  for (const machine of [...machines].sort((a, b) => a.created_at.localeCompare(b.created_at))) {
    // What these are marked with must not spread: the next deploy destroys what has it.
    if (!isProvisional(machine)) templates[groupOf(machine)!] = machine.config
  }
  if (groups.every((group) => templates[group])) return templates
  const release = await completeRelease(session)
  if (!release) {
    const among = `no complete release among its last ${RELEASES_MAX}`
    throw usage(`${session.app} has ${among}. Run fairway deploy first.`)
  }
  const config = AppConfig.parse(release.configDefinition ?? {})
  const missing = groups.find((group) => !templates[group] && !groupsOf(config).includes(group))
  if (missing !== undefined) {
    throw usage(`${session.app} has no process group "${missing}". Deploy it in fly.toml first.`)
  }
  const { id, version, imageRef: image } = release
  const input = { image, release: { id, version }, clientVersion: VERSION }
  return { ...toMachineConfigs(config, input), ...templates }
}

async function show(session: Session) {
  const machines = await deployedMachines(session)
  const groups = [...new Set(machines.map((machine) => groupOf(machine)!))]
  const rows = groups.map((group) => {
    const mine = machines.filter((machine) => groupOf(machine) === group)
    const { guest } = mine[0]!.config
    return { group, mine, guest, regions: regionCounts(mine) }
  })
  if (session.wantsJson) {
    return session.printJson(
      rows.map(({ group, mine, guest, regions }) => ({
        Process: group,
        Count: mine.length,
        CPUKind: guest.cpu_kind,
        CPUs: guest.cpus,
        Memory: guest.memory_mb,
        Regions: regions,
      })),
    )
  }
  session.print(`VM Resources for app: ${session.app}\n`)
  session.print(
    table(
      ['Name', 'Count', 'Kind', 'CPUs', 'Memory', 'Regions'],
      rows.map(({ group, mine, guest, regions }) => [
        group,
        mine.length,
        guest.cpu_kind,
        guest.cpus,
        `${guest.memory_mb} MB`,
        Object.entries(regions)
          .map(([region, n]) => (n > 1 ? `${region}(${n})` : region))
          .join(','),
      ]),
    ),
  )
}

function regionCounts(machines: readonly ApiMachine[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { region } of machines) counts[region] = (counts[region] ?? 0) + 1
  return counts
}
