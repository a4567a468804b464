import type { Command } from 'commander'
import { printEgressAdvice } from '../egress-advice.ts'
import { allocateEgress, type EgressIp, releaseEgress } from '../egress-api.ts'
import {
  machinesText,
  pairOf,
  pinOf,
  pinText,
  regionList,
  regionsText,
  sayEffects,
  warnWaiting,
  wholeNumber,
} from '../egress-words.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { checkIp, typeText } from '../ips.ts'
import { listMachines } from '../machines.ts'
import { withExamples } from '../options.ts'
import { ago } from '../output.ts'
import { type Prices, readPrices } from '../prices.ts'
import { action, type Session } from '../session.ts'

/** As many as the API gives in one call. */
const PAIRS_MAX = 8

interface AllocateFlags {
  readonly region?: string
  readonly count: string
  readonly regions?: string
  readonly group?: string
  readonly machine?: string
}

export function registerEgressIps(ips: Command, io: Io): void {
  const allocating = ips
    .command('allocate-egress')
    .summary('Allocate a pair of addresses that others can admit the app by')
    .description(
      "Allocate a pair of egress addresses (IPv4 and IPv6): the app's machines in a region reach the " +
        'internet from them, so that others can admit the app by its address',
    )
    .option(
      '-r, --region <code>',
      'region whose machines use it (needed, unless --regions is given)',
    )
    .option('--count <n>', 'how many pairs; machines are spread over them', '1')
    .option('--regions <codes>', 'use one pair in several regions, its home first: iad,lhr')
    .option('--group <name>', 'keep it for machines of this process group')
    .option('--machine <id>', 'keep it for this machine')
    .action(action(io, (session, flags: AllocateFlags) => allocate(session, flags)))
  withExamples(allocating, [
    ['fairway ips allocate-egress -a shop -r iad', 'one pair for the machines in iad'],
    ['fairway ips allocate-egress -a shop -r iad --group worker', 'only workers use it'],
    ['fairway ips allocate-egress -a shop --regions iad,lhr --yes', 'one pair in two regions'],
  ])
  const releasing = ips
    .command('release-egress <addresses...>')
    .summary('Give egress addresses back')
    .description(
      "Give egress addresses back; connections that use them end, and the app's machines leave through what remains",
    )
    .action(action(io, (session, addresses: string[]) => release(session, addresses)))
  withExamples(releasing, [
    ['fairway egress drain 198.51.100.3 -a shop', 'first let established connections finish'],
    ['fairway ips release-egress 198.51.100.3 2001:db8:e001::3 -a shop', 'then give the pair back'],
  ])
}

/** A row of `ips list`, columns as flyctl's. */
export const egressRow = (row: EgressIp, prices: Prices, nowMs: number) => [
  `v${row.version}`,
  row.ip,
  typeText(`egress_v${row.version}`, prices),
  regionsText(row),
  ago(row.updated_at, nowMs),
]

/** flyctl's keys (flyctl-api 6.2): CreatedAt is when it was last changed. */
export const egressJson = (row: EgressIp) => ({
  ID: `${row.id}-v${row.version}`,
  Address: row.ip,
  Type: `egress_v${row.version}`,
  Region: row.region,
  CreatedAt: row.updated_at,
  ServiceName: '',
  Network: null,
})

async function allocate(session: Session, flags: AllocateFlags): Promise<void> {
  const regions = flags.regions === undefined ? undefined : regionList(flags.regions, '--regions')
  const region = flags.region ?? regions?.[0]
  if (!region) {
    throw usage(
      'a region must be provided when allocating an app-scoped egress IP address: ' +
        'add -r CODE, such as -r iad. `fairway regions list` shows them.',
    )
  }
  if (regions && regions[0] !== region) {
    throw usage(`--regions "${flags.regions}" does not begin with the region of -r, "${region}".`)
  }
  const count = wholeNumber(flags.count, '--count', 1, PAIRS_MAX)
  const pin = pinOf(flags)
  await confirmAllocation(session, region, count)
  const wish = { region, count, ...(regions && { regions }), ...(pin && { pin }) }
  const allocating = allocateEgress(session, wish)
  const done = await session.during('Waiting for the hosts of the region', allocating)
  if (session.wantsJson) session.printJson(done.egress_ips.map(egressJson))
  else printAllocated(session, done.egress_ips)
  warnWaiting(session, done.waiting)
  await printEgressAdvice(session)
}

/** E2: what it is for, what it costs, and whether anything would use it. */
async function confirmAllocation(session: Session, region: string, count: number): Promise<void> {
  const price = (await readPrices(session)).egress_v4
  const cost = price ? `costs ${price}, used or not` : 'costs nothing'
  const each = count > 1 ? `${count} pairs; each ${cost}` : `a pair ${cost}`
  if (session.options.yes) {
    session.note(`Egress addresses: ${each}.`)
    return
  }
  await session.confirm(
    'Egress addresses are for connections from the app to others who admit it by its address; ' +
      `visitors do not need them. Allocate for ${session.app} in ${region} (${each})?`,
  )
  const machines = await listMachines(session)
  if (machines.some((machine) => machine.region === region)) return
  await session.confirm(
    `${session.app} has no machines there (yet), and only machines in ${region} would use them. ` +
      'Allocate all the same?',
  )
}

function printAllocated(session: Session, made: readonly EgressIp[]): void {
  for (const id of new Set(made.map((row) => row.id))) {
    const pair = pairOf(made, id)
    const [first] = pair
    if (!first) continue
    const only = first.pin ? ` for ${pinText(first.pin)}` : ''
    session.print(`Allocated egress addresses for ${session.app} in ${regionsText(first)}${only}:`)
    for (const row of pair) session.print(`IPv${row.version}: ${row.ip}`)
    const users = machinesText(first.machines)
    session.print(
      users
        ? `In force for new connections of ${users}.`
        : 'In force: machines that may use it do so from their first packet.',
    )
  }
}

async function release(session: Session, addresses: readonly string[]): Promise<void> {
  const ips = addresses.map(checkIp)
  for (const ip of ips) {
    const done = await session.during('Waiting for the hosts', releaseEgress(session, ip))
    session.print(`Released egress address ${ip} of ${session.app}`)
    sayEffects(session, session.app, done)
  }
  await printEgressAdvice(session)
}
