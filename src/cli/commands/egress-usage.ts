import type { Command } from 'commander'
import type { EgressDestination, EgressUsage } from '../../model/wire.ts'
import { readUsage } from '../egress-api.ts'
import { portsText } from '../egress-words.ts'
import { usage as usageError } from '../errors.ts'
import type { Io } from '../io.ts'
import { sessionOfMachine } from '../machines.ts'
import { withExamples } from '../options.ts'
import { table } from '../output.ts'
import { action, type Session } from '../session.ts'

/** From this part of a block on, more room is worth a word. */
const NEARLY_FULL = 0.8
/** Lines of destinations when no machine is named. */
const DESTINATIONS_SHOWN = 10

export function registerEgressUsage(egress: Command, io: Io): void {
  const command = egress
    .command('usage')
    .summary('Show ports in use by machine and destination')
    .description(
      'Show how many ports each machine with a static address uses, to which destinations, and the most so far',
    )
    .option('--machine <id>', 'only this machine, with all its busy destinations')
    .action(
      action(io, async (session, flags: { machine?: string }) =>
        usage(await sessionOfMachine(session, flags.machine), flags.machine),
      ),
    )
  withExamples(command, [
    ['fairway egress usage -a shop', 'all machines; the busiest destinations'],
    ['fairway egress usage --machine 4e6e2652a0279b', 'one machine'],
  ])
}

async function usage(session: Session, machine: string | undefined): Promise<void> {
  const answer = await session.during('Asking the hosts', readUsage(session))
  for (const { host, error } of answer.hosts_silent) {
    session.note(`Warning: host ${host} does not answer (${error}); its machines are missing here.`)
  }
  const rows = answer.usage.filter((row) => machine === undefined || row.machine === machine)
  if (machine !== undefined && rows.length === 0) {
    throw usageError(
      `Machine ${machine} of ${session.app} has no static address, or its host does not answer. ` +
        '`fairway egress list` shows which machines have one.',
    )
  }
  if (session.wantsJson) session.printJson(rows)
  else if (rows.length === 0) {
    session.print(`No machine of ${session.app} has a static address: fairway egress list`)
  } else printUsage(session, rows, machine === undefined ? DESTINATIONS_SHOWN : undefined)
  for (const row of rows) warn(session, row)
}

function printUsage(session: Session, rows: readonly EgressUsage[], shown: number | undefined) {
  session.print(
    table(
      [
        'Machine',
        'Region',
        'IPv4',
        'IPv6',
        'Ports',
        'Connections',
        'Most to one',
        'High water',
        'Exhausted',
        'Dropped',
      ],
      rows.map((row) => [
        row.machine,
        row.region,
        row.v4 ?? '-',
        row.v6 ?? '-',
        portsText(row.slot, row.count),
        row.total,
        `${row.inUse}/${row.ports}`,
        row.peak,
        row.exhausted,
        Object.values(row.dropped).reduce((sum, packets) => sum + packets, 0),
      ]),
    ),
  )
  const destinations = rows
    .flatMap((row) => row.destinations.map((to) => ({ row, to })))
    .sort((a, b) => b.to.inUse - a.to.inUse || b.to.peak - a.to.peak)
    .slice(0, shown)
  if (destinations.length === 0) return
  session.print('Busiest destinations')
  session.print(
    table(
      ['Machine', 'Destination', 'Protocol', 'In use', 'High water', 'Of'],
      destinations.map(({ row, to }) => [
        row.machine,
        destinationText(to),
        to.proto,
        to.inUse,
        to.peak,
        row.ports,
      ]),
    ),
  )
}

const destinationText = ({ address, port }: EgressDestination): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

function warn(session: Session, row: EgressUsage): void {
  const busiest = row.destinations[0]
  const more = `\`fairway egress blocks ${row.machine} ${row.count + 1}\` gives it more`
  if (busiest && busiest.inUse >= row.ports * NEARLY_FULL) {
    session.note(
      `Warning: machine ${row.machine} has ${busiest.inUse} of ${row.ports} possible connections to ` +
        `${destinationText(busiest)}. ${more}, or keep connections open between requests.`,
    )
  } else if (row.exhausted > 0) {
    session.note(
      `Warning: machine ${row.machine} has had no port left to a destination ${row.exhausted} times. ` +
        `${more}.`,
    )
  }
}
