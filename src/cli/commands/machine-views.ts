import type { Command } from 'commander'
import { quoteWord } from '../../model/fly-toml/shell-words.ts'
import type { MachineEvent } from '../../model/resources.ts'
import type { ApiMachine } from '../api-types.ts'
import { egressLines, problemText } from '../egress-words.ts'
import type { Io } from '../io.ts'
import { getMachine, listMachines, sessionOfMachine } from '../machines.ts'
import { plural, table, vertical } from '../output.ts'
import { action, type Session } from '../session.ts'

export function registerMachineViews(machine: Command, io: Io): void {
  machine
    .command('list')
    .alias('ls')
    .description("List an app's machines")
    .option('-q, --quiet', 'ids only')
    .action(action(io, (session, flags: { quiet?: boolean }) => list(session, flags.quiet)))
  machine
    .command('status <id>')
    .alias('show')
    .description('Show one machine with its checks and events')
    .option('-d, --display-config', 'only its configuration, as JSON')
    .action(
      action(io, async (session, id: string, flags: { displayConfig?: boolean }) =>
        status(await sessionOfMachine(session, id), id, flags.displayConfig ?? false),
      ),
    )
}

/** `repository:tag`, or the start of the digest where there is no tag. */
export function imageText(machine: ApiMachine): string {
  const { repository = '', tag, digest } = machine.image_ref ?? {}
  return tag ? `${repository}:${tag}` : `${repository}@${(digest ?? '').slice(0, 19)}`
}

/** `2/3`: how many checks pass, of all. */
export function checksText(machine: ApiMachine): string {
  const checks = machine.checks ?? []
  const passing = checks.filter((check) => check.status === 'passing').length
  return checks.length === 0 ? '' : `${passing}/${checks.length}`
}

const sizeText = ({ config: { guest } }: ApiMachine): string =>
  `${guest.cpu_kind}-cpu-${guest.cpus}x:${guest.memory_mb}MB`

async function list(session: Session, quiet: boolean | undefined): Promise<void> {
  const machines = await session.during('Reading the machines', listMachines(session))
  if (session.wantsJson) return session.printJson(machines)
  if (quiet) return session.print(machines.map((m) => m.id).join('\n'))
  if (machines.length === 0) {
    return session.print(`${session.app} has no machines. Deploy it: fairway deploy`)
  }
  session.print(`${plural(machines.length, 'machine')} of app ${session.app}\n`)
  const lost = machines.some((m) => isLost(m))
  session.print(
    table(
      [
        'ID',
        'Name',
        'State',
        'Checks',
        'Region',
        'Role',
        'Image',
        'IP Address',
        'Volume',
        'Created',
        'Last Updated',
        'Process Group',
        'Size',
      ],
      machines.map((m) => [
        isLost(m) ? `${m.id}*` : m.id,
        m.name,
        m.cordoned ? `${m.state} (cordoned)` : m.state,
        checksText(m),
        m.region,
        '',
        imageText(m),
        m.private_ip,
        '',
        m.created_at,
        m.updated_at,
        m.config.metadata?.fly_process_group ?? '',
        sizeText(m),
      ]),
    ),
  )
  if (lost) session.print('* the host of these machines does not report')
}

const isLost = (machine: ApiMachine): boolean => (machine.host_status ?? 'ok') !== 'ok'

async function status(session: Session, id: string, configOnly: boolean): Promise<void> {
  const machine = await getMachine(session, id)
  if (configOnly) return session.printJson(machine.config)
  if (session.wantsJson) return session.printJson(machine)
  const { config } = machine
  const words = (list: readonly string[] | null | undefined) =>
    (list ?? []).map(quoteWord).join(' ')
  session.print(
    `Machine ID: ${machine.id}\nInstance ID: ${machine.instance_id}\nState: ${machine.state}\n`,
  )
  session.print(
    vertical('VM', [
      ['ID', machine.id],
      ['Instance ID', machine.instance_id],
      ['State', machine.cordoned ? `${machine.state} (cordoned)` : machine.state],
      ['Image', imageText(machine)],
      ['Name', machine.name],
      ['Private IP', machine.private_ip],
      ['Region', machine.region],
      ['Process Group', config.metadata?.fly_process_group ?? ''],
      ['CPU Kind', config.guest.cpu_kind],
      ['vCPUs', config.guest.cpus],
      ['Memory', config.guest.memory_mb],
      ['Created', machine.created_at],
      ['Updated', machine.updated_at],
      ['Entrypoint', words(config.init?.entrypoint)],
      ['Command', words(config.init?.exec ?? config.init?.cmd)],
      ...egressLines(machine),
    ]),
  )
  const problem = problemText(machine)
  if (problem) session.print(`${problem}\n`)
  printChecks(session, machine)
  printEvents(session, machine.events ?? [])
}

function printChecks(session: Session, machine: ApiMachine): void {
  const checks = machine.checks ?? []
  if (checks.length === 0) return
  session.print('Checks')
  const rows = checks.map((c) => [c.name, c.status, c.updated_at, c.output])
  session.print(table(['Name', 'Status', 'Last Updated', 'Output'], rows))
}

function printEvents(session: Session, events: readonly MachineEvent[]): void {
  if (events.length === 0) return
  session.print('Event Logs')
  session.print(
    table(
      ['State', 'Event', 'Source', 'Timestamp', 'Info'],
      events.map((event) => [
        event.status,
        event.type,
        event.source,
        new Date(event.timestamp).toISOString(),
        infoOf(event),
      ]),
    ),
  )
}

function infoOf(event: MachineEvent): string {
  const exit = event.request?.exit_event
  if (!exit) return ''
  const asked = exit.requested_stop ? ', requested' : ''
  return `exit_code=${exit.exit_code}, oom_killed=${exit.oom_killed}${asked}`
}
