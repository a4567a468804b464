import type { Command } from 'commander'
import { FairwayError } from '../../base/errors.ts'
import {
  allocateForMachine,
  type EgressIp,
  listEgress,
  type MachinePair,
  promoteEgress,
  releaseOfMachine,
} from '../egress-api.ts'
import { warnWaiting } from '../egress-words.ts'
import type { Io } from '../io.ts'
import { sessionOfMachine } from '../machines.ts'
import { withExamples } from '../options.ts'
import { table } from '../output.ts'
import { readPrices } from '../prices.ts'
import { action, type Session } from '../session.ts'

/** E9, E10: addresses that live and die with one machine; outputs as flyctl's. */
export function registerMachineEgress(machine: Command, io: Io): void {
  const group = machine
    .command('egress-ip')
    .description("Egress addresses of single machines (deprecated: prefer the app's)")
  withExamples(
    group
      .command('allocate <machine>')
      .description(
        'Allocate a pair for one machine; it is given back with the machine (deprecated)',
      )
      .action(action(io, ofMachine(allocate))),
    [['fairway machine egress-ip allocate 4e6e2652a0279b', 'asks before it buys']],
  )
  withExamples(
    group
      .command('list')
      .alias('ls')
      .description('List the addresses of single machines')
      .action(action(io, list)),
    [['fairway machine egress-ip list -a shop', 'beside those of the app: fairway egress list']],
  )
  withExamples(
    group
      .command('release <machine>')
      .description("Give a machine's own addresses back")
      .action(action(io, ofMachine(release))),
    [['fairway machine egress-ip release 4e6e2652a0279b --yes', "it uses the app's from then on"]],
  )
  withExamples(
    group
      .command('promote <machine>')
      .description("Give a machine's own addresses to its app, in the machine's region, for good")
      .action(action(io, ofMachine(promote))),
    [['fairway machine egress-ip promote 4e6e2652a0279b', 'connections are not interrupted']],
  )
}

const ofMachine =
  (work: (session: Session, id: string) => Promise<void>) =>
  async (session: Session, id: string): Promise<void> =>
    work(await sessionOfMachine(session, id), id)

async function allocate(session: Session, id: string): Promise<void> {
  const price = (await readPrices(session)).egress_v4
  session.note(
    'Warning: egress addresses of single machines are deprecated: they end with the machine, and a ' +
      'deploy that replaces it loses them. `fairway ips allocate-egress` gives the app one that stays.',
  )
  await session.confirm(
    `Allocate a pair for machine ${id}${price ? ` (${price}, used or not)` : ''}?`,
  )
  const allocating = allocateForMachine(session, id)
  const pair = await session.during('Waiting for the hosts', allocating)
  if (session.wantsJson) return session.printJson({ MachineID: id, IPv4: pair.v4, IPv6: pair.v6 })
  session.print(`Allocated egress IPs for machine ${id}:`)
  printPair(session, pair)
}

async function list(session: Session): Promise<void> {
  const rows = await ownAddresses(session)
  if (session.wantsJson) return session.printJson(rows.map(ownJson))
  if (rows.length === 0) {
    return session.print(`No machine of ${session.app} has an egress address of its own.`)
  }
  session.print(ownTable(rows))
}

async function release(session: Session, id: string): Promise<void> {
  await session.confirm(
    `Release the egress addresses of machine ${id}? Others who admit it by them refuse it then.`,
  )
  const releasing = releaseOfMachine(session, id)
  const pair = await session.during('Waiting for the hosts', releasing)
  if (session.wantsJson) return session.printJson({ MachineID: id, IPv4: pair.v4, IPv6: pair.v6 })
  session.print(`Released egress IPs of machine ${id}:`)
  printPair(session, pair)
}

async function promote(session: Session, id: string): Promise<void> {
  const rows = (await ownAddresses(session)).filter((row) => row.machine_id === id)
  if (rows.length === 0) {
    throw new FairwayError(
      'no_machine_egress',
      `no machine-scoped egress IPs found for machine ${id}. ` +
        '`fairway machine egress-ip list` shows which machines have some.',
    )
  }
  await session.confirm(
    `Give ${rows.map((row) => row.ip).join(' and ')} to app ${session.app} in ${rows[0]!.region}? ` +
      'They stay when the machine goes, and its other machines there may use them too.',
  )
  for (const { ip } of rows) {
    const done = await session.during('Waiting for the hosts', promoteEgress(session, ip))
    warnWaiting(session, done.waiting)
  }
  if (session.wantsJson) return session.printJson(rows.map(ownJson))
  session.print(ownTable(rows))
  session.print(`Promoted ${rows.length} egress IPs to app ${session.app}`)
}

const ownAddresses = async (session: Session): Promise<readonly EgressIp[]> =>
  (await listEgress(session)).filter((row) => row.machine_id !== null)

const ownTable = (rows: readonly EgressIp[]): string =>
  table(
    ['Machine ID', 'Region', 'Type', 'Egress IP'],
    rows.map((row) => [row.machine_id, row.region, `v${row.version}`, row.ip]),
  )

const ownJson = (row: EgressIp) => ({
  MachineID: row.machine_id,
  ID: `${row.id}-v${row.version}`,
  IP: row.ip,
  Version: row.version,
  Region: row.region,
  UpdatedAt: row.updated_at,
})

/** As flyctl writes a family that there is not. */
function printPair(session: Session, { v4, v6 }: MachinePair): void {
  session.print(`IPv4: ${v4 ?? '<nil>'}`)
  session.print(`IPv6: ${v6 ?? '<nil>'}`)
}
