import type { Command } from 'commander'
import { EGRESS_SLOTS } from '../../model/resources.ts'
import {
  changeEgress,
  type EgressChange,
  type EgressChanged,
  type EgressIp,
  findEgress,
  listEgress,
  moveEgress,
  setBlocks,
} from '../egress-api.ts'
import {
  machinesText,
  pinOf,
  pinText,
  portsText,
  regionList,
  regionsText,
  sayEffects,
  usersText,
  warnWaiting,
  wholeNumber,
} from '../egress-words.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { checkIp } from '../ips.ts'
import { sessionOfMachine } from '../machines.ts'
import { withExamples } from '../options.ts'
import { plural, table, vertical } from '../output.ts'
import { action, type Session } from '../session.ts'
import { registerEgressCheck } from './egress-check.ts'
import { registerEgressDrain } from './egress-drain.ts'
import { registerEgressMetering } from './egress-metering.ts'
import { registerEgressUsage } from './egress-usage.ts'

export function registerEgress(program: Command, io: Io): void {
  const egress = program
    .command('egress')
    .description(
      "Which addresses the app's machines reach the internet from, who uses them, and how much",
    )
  registerViews(egress, io)
  registerPins(egress, io)
  registerEgressDrain(egress, io)
  registerMoves(egress, io)
  registerEgressUsage(egress, io)
  registerEgressCheck(egress, io)
  registerEgressMetering(egress, io)
}

function registerViews(egress: Command, io: Io): void {
  const listing = egress
    .command('list')
    .alias('ls')
    .summary("List the app's egress addresses")
    .description("List the app's egress addresses: who may use each, its state, its machines")
    .action(action(io, list))
  withExamples(listing, [
    ['fairway egress list -a shop', 'all of them, also those of single machines'],
    ['fairway ips allocate-egress -a shop -r iad', 'get the first'],
  ])
  const showing = egress
    .command('show <address>')
    .summary('Show one address and who sends from which of its ports')
    .description('Show one address and which machine sends from which of its ports')
    .action(action(io, (session, address: string) => show(session, address)))
  withExamples(showing, [
    ['fairway egress show 198.51.100.3 -a shop', 'whose connection came from port 3100?'],
  ])
}

function registerPins(egress: Command, io: Io): void {
  const pinning = egress
    .command('pin <address>')
    .summary('Keep an address for one process group or one machine')
    .description(
      'Keep an address and its pair for one process group or one machine; the others stop using it',
    )
    .option('--group <name>', 'process group of fly.toml')
    .option('--machine <id>', 'machine')
    .action(
      action(io, (session, address: string, flags: { group?: string; machine?: string }) =>
        pin(session, address, flags),
      ),
    )
  withExamples(pinning, [
    ['fairway egress pin 198.51.100.3 --group worker -a shop', 'only workers leave through it'],
    ['fairway egress pin 198.51.100.3 --machine 4e6e2652a0279b -a shop', 'only this machine'],
  ])
  const unpinning = egress
    .command('unpin <address>')
    .summary('Let all machines use an address again')
    .description('Let all machines of its regions use an address and its pair again')
    .action(action(io, (session, address: string) => unpin(session, address)))
  withExamples(unpinning, [['fairway egress unpin 198.51.100.3 -a shop', 'for everybody again']])
}

function registerMoves(egress: Command, io: Io): void {
  const moving = egress
    .command('move <address>')
    .summary('Give an address to another app, or to one machine')
    .description(
      'Give an address and its pair to another app of the organization or to a machine; established ' +
        'connections go on where they are',
    )
    .option('--to-app <name>', 'app that gets it')
    .option('--to-machine <id>', 'machine that gets it as its own')
    .action(
      action(io, (session, address: string, flags: MoveFlags) => move(session, address, flags)),
    )
  withExamples(moving, [
    ['fairway egress move 198.51.100.3 -a shop --to-app shop-v2', 'from one app to the next'],
    ['fairway egress move 198.51.100.3 -a shop --to-machine 4e6e2652a0279b', 'to one machine'],
  ])
  const regions = egress
    .command('regions <address> <codes>')
    .summary('Set the regions that share an address')
    .description(
      'Set the regions whose machines share an address and its pair; its home region stays among them',
    )
    .action(
      action(io, (session, address: string, codes: string) => setRegions(session, address, codes)),
    )
  withExamples(regions, [
    ['fairway egress regions 198.51.100.3 iad,lhr -a shop', 'machines of both use it'],
    ['fairway egress regions 198.51.100.3 iad -a shop', 'those of iad alone again'],
  ])
  const blocks = egress
    .command('blocks <machine> <count>')
    .summary('Set how many ports a machine has')
    .description(
      'Give a machine so many adjacent blocks of ports; each is worth 1,024 connections at a time to one ' +
        'destination',
    )
    .action(
      action(io, async (session, machine: string, count: string) =>
        giveBlocks(await sessionOfMachine(session, machine), machine, count),
      ),
    )
  withExamples(blocks, [
    ['fairway egress blocks 4e6e2652a0279b 4', '4,096 connections at once to one destination'],
    ['fairway egress blocks 4e6e2652a0279b 1', 'back to one block'],
  ])
}

async function list(session: Session): Promise<void> {
  const rows = await listEgress(session)
  if (session.wantsJson) return session.printJson(rows)
  if (rows.length === 0) {
    return session.print(
      `${session.app} has no egress address: its machines leave through addresses of their hosts, ` +
        `which change. \`fairway ips allocate-egress -a ${session.app} -r REGION\` gives it a pair.`,
    )
  }
  session.print(
    table(
      ['Version', 'IP', 'Region', 'For', 'State', 'Blocks', 'Machines'],
      [...rows]
        .sort(byPair)
        .map((row) => [
          `v${row.version}`,
          row.ip,
          regionsText(row),
          usersText(row),
          row.state,
          `${row.blocks_used}/${row.blocks_total}`,
          machinesText(row.machines),
        ]),
    ),
  )
}

const byPair = (a: EgressIp, b: EgressIp): number =>
  a.region.localeCompare(b.region) || a.id.localeCompare(b.id) || a.version - b.version

async function show(session: Session, address: string): Promise<void> {
  const row = await findEgress(session, address)
  if (session.wantsJson) return session.printJson(row)
  session.print(
    vertical('Egress address', [
      ['IP', row.ip],
      ['Region', regionsText(row)],
      ['For', usersText(row)],
      ['State', row.state],
      ['Blocks', `${row.blocks_used} of ${row.blocks_total}`],
      ['Changed', row.updated_at],
    ]),
  )
  if (row.machines.length === 0) return session.print('No machine uses it.')
  session.print('Machines')
  session.print(
    table(
      ['ID', 'Host', 'Ports', 'State'],
      [...row.machines]
        .sort((a, b) => a.slot - b.slot)
        .map(({ id, host, slot, count, state }) => [
          id,
          host,
          portsText(slot, count),
          state === 'drain' ? 'draining' : 'in use',
        ]),
    ),
  )
}

async function pin(
  session: Session,
  address: string,
  flags: { group?: string; machine?: string },
): Promise<void> {
  const wanted = pinOf(flags)
  if (!wanted) throw usage('Say for whom: --group NAME or --machine ID.')
  await change(session, address, { pin: wanted }, `is now for ${pinText(wanted)}`)
}

const unpin = (session: Session, address: string): Promise<void> =>
  change(session, address, { pin: null }, 'is now for all machines')

async function setRegions(session: Session, address: string, codes: string): Promise<void> {
  const regions = regionList(codes, 'regions')
  await change(session, address, { regions }, `is now used in ${regions.join(', ')}`)
}

interface MoveFlags {
  readonly toApp?: string
  readonly toMachine?: string
}

async function move(session: Session, address: string, { toApp, toMachine }: MoveFlags) {
  const ip = checkIp(address)
  if ((toApp === undefined) === (toMachine === undefined)) {
    throw usage('Say where to, once: --to-app NAME or --to-machine ID.')
  }
  const moving =
    toApp === undefined
      ? moveEgress(session, ip, { machine: toMachine! })
      : moveEgress(session, ip, { app: toApp })
  const where = toApp === undefined ? `machine ${toMachine}` : `app ${toApp}`
  await say(
    session,
    moving,
    `${ip} moved from ${session.app} to ${where}; established connections go on where they are.`,
  )
}

async function giveBlocks(session: Session, machine: string, text: string): Promise<void> {
  const count = wholeNumber(text, 'count', 1, EGRESS_SLOTS)
  const setting = setBlocks(session, machine, count)
  const done = await session.during('Waiting for the hosts', setting)
  if (session.wantsJson) session.printJson(done)
  else {
    const { slot, count: has } = done.egress ?? {}
    const known = typeof slot === 'number' && typeof has === 'number'
    const ports = known ? `: ports ${portsText(slot, has)}` : ''
    session.print(`Machine ${machine} has ${plural(count, 'block')}${ports}`)
  }
  warnWaiting(session, done.waiting)
}

async function change(session: Session, address: string, wanted: EgressChange, what: string) {
  const ip = checkIp(address)
  await say(session, changeEgress(session, ip, wanted), `${ip} ${what}.`)
}

/** Waits for the change, then says it and what else it did. */
async function say(session: Session, work: Promise<EgressChanged>, line: string): Promise<void> {
  const done = await session.during('Waiting for the hosts', work)
  if (session.wantsJson) return session.printJson(done)
  session.print(line)
  sayEffects(session, session.app, done)
}
