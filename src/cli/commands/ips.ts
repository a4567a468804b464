import type { Command } from 'commander'
import { parseIp } from '../../base/ip.ts'
import { ipPlanOf } from '../../model/fly-toml/ip-plan.ts'
import type { Service } from '../../model/machine-config.ts'
import { groupOf } from '../api-types.ts'
import { printEgressAdvice } from '../egress-advice.ts'
import { listEgress } from '../egress-api.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import {
  type AppIps,
  allocateIp,
  allocateShared,
  checkIp,
  confirmPurchase,
  type GqlIp,
  listIps,
  type Reverted,
  releaseIp,
  typeText,
} from '../ips.ts'
import { deployedMachines, listMachines } from '../machines.ts'
import { orgOf } from '../orgs.ts'
import { ago, table } from '../output.ts'
import { type Prices, readPrices } from '../prices.ts'
import { action, type Session } from '../session.ts'
import { egressJson, egressRow, registerEgressIps } from './ips-egress.ts'

const COLUMNS = ['Version', 'IP', 'Type', 'Region', 'Created At']
const REGION_FLAG = ['-r, --region <code>', 'announce it in one region only'] as const

interface V6Options {
  readonly region?: string
  readonly private?: boolean
  readonly network?: string
}

export function registerIps(program: Command, io: Io): void {
  const ips = program.command('ips').alias('ip').description('Addresses of an app')
  registerReads(ips, io)
  registerAllocations(ips, io)
  registerReleases(ips, io)
  registerEgressIps(ips, io)
}

function registerReads(ips: Command, io: Io): void {
  ips
    .command('list')
    .alias('ls')
    .description('List the addresses of an app')
    .action(action(io, list))
  ips
    .command('private')
    .description('List the private (6PN) addresses of the machines')
    .action(action(io, privateList))
}

function registerAllocations(ips: Command, io: Io): void {
  ips
    .command('allocate')
    .description("Allocate what the app's services need")
    .option(...REGION_FLAG)
    .action(action(io, (s, options: { region?: string }) => allocate(s, options.region)))
  ips
    .command('allocate-v4')
    .description('Allocate an IPv4 address')
    .option('--shared', 'the shared address: no cost, HTTP and TLS by name only')
    .option(...REGION_FLAG)
    .action(
      action(io, (session, options: { shared?: boolean; region?: string }) =>
        options.shared ? allocateSharedV4(session) : allocateV4(session, options.region),
      ),
    )
  ips
    .command('allocate-v6')
    .description('Allocate an IPv6 address')
    .option('--private', 'a private address for other apps of the network')
    .option('--network <name>', 'network that a private address is in')
    .option(...REGION_FLAG)
    .action(action(io, (session, options: V6Options) => allocateV6(session, options)))
}

function registerReleases(ips: Command, io: Io): void {
  ips
    .command('release <addresses...>')
    .description('Give addresses back')
    .action(action(io, (session, addresses: string[]) => release(session, addresses)))
  ips
    .command('release-v4')
    .description('Give the dedicated IPv4 address back')
    .option('--ip <address>', 'which one, if the app has several')
    .action(
      action(io, async (session, options: { ip?: string }) =>
        release(session, [options.ip ?? (await onlyV4(session))]),
      ),
    )
  ips
    .command('detach-v4 [address]')
    .description('Take a dedicated IPv4 address off the app and keep it in the organization')
    .option('--ip <address>', 'which one, if the app has several')
    .action(
      action(io, (session, address: string | undefined, options: { ip?: string }) =>
        detach(session, options.ip ?? address),
      ),
    )
  ips
    .command('attach-v4 [address]')
    .description(
      'Give the app a dedicated IPv4 address of its organization, parked or of another app',
    )
    .option('--ip <address>', 'the address')
    .action(
      action(io, (session, address: string | undefined, options: { ip?: string }) =>
        attach(session, options.ip ?? address),
      ),
    )
}

const version = (ip: string): string => (parseIp(ip)?.family === 4 ? 'v4' : 'v6')

const row = (ip: GqlIp, prices: Prices, nowMs: number) => [
  version(ip.address),
  ip.address,
  typeText(ip.type, prices),
  ip.region,
  ago(ip.createdAt, nowMs),
]

async function list(session: Session) {
  const [found, egress, prices] = await Promise.all([
    listIps(session),
    listEgress(session),
    readPrices(session),
  ])
  const ofApp = egress.filter((row) => row.machine_id === null)
  if (session.wantsJson) {
    session.printJson([...withShared(found).map(jsonOf), ...ofApp.map(egressJson)])
  } else {
    const now = session.io.clock.now()
    const rows = withShared(found).map((ip) => row(ip, prices, now))
    session.print(table(COLUMNS, [...rows, ...ofApp.map((ip) => egressRow(ip, prices, now))]))
    const line = dedicatedLine(session.app, found, prices)
    if (line) session.print(line)
    const own = egress.length - ofApp.length
    if (own > 0) session.print(`Addresses of single machines besides: ${own} (fairway egress list)`)
  }
  await printEgressAdvice(session, { egress })
}

/** The shared address stands beside the list in the API and within it for a person. */
const withShared = ({ ips, sharedV4 }: AppIps): readonly GqlIp[] =>
  sharedV4 === undefined
    ? ips
    : [...ips, { id: '', address: sharedV4, type: 'shared_v4', region: '', createdAt: '' }]

function dedicatedLine(app: string, { ips, sharedV4 }: AppIps, prices: Prices): string | undefined {
  if (ips.some((ip) => ip.type === 'v4')) return undefined
  const cost = prices.v4 ? ` (${prices.v4})` : ''
  const now = sharedV4
    ? `IPv4 reaches it through the shared ${sharedV4}, by name: HTTP and TLS only`
    : 'nothing reaches it over IPv4'
  return `${app} has no dedicated IPv4 address; ${now}. \`fairway ips allocate-v4\`${cost} gives it one.`
}

const jsonOf = (ip: GqlIp) => ({
  ID: ip.id,
  Address: ip.address,
  Type: ip.type,
  Region: ip.region,
  CreatedAt: ip.createdAt || '0001-01-01T00:00:00Z',
  ServiceName: ip.serviceName ?? '',
  Network: ip.network
    ? { Name: ip.network.name, Organization: { Slug: ip.network.organization?.slug ?? '' } }
    : null,
})

async function privateList(session: Session) {
  const machines = await deployedMachines(session)
  if (session.wantsJson) return session.printJson(machines.map((m) => m.private_ip))
  session.print(
    table(
      ['ID', 'Region', 'IP'],
      machines.map((m) => [m.id, m.region, m.private_ip]),
    ),
  )
}

async function showAllocated(session: Session, ip: GqlIp) {
  if (session.wantsJson) return session.printJson(jsonOf(ip))
  session.print(table(COLUMNS, [row(ip, await readPrices(session), session.io.clock.now())]))
}

async function allocateV4(session: Session, region: string | undefined) {
  await confirmPurchase(session)
  await showAllocated(session, await allocateIp(session, { type: 'v4', region }))
}

async function allocateSharedV4(session: Session) {
  const ip = await allocateShared(session)
  if (session.wantsJson) {
    return session.printJson(jsonOf(withShared({ ips: [], sharedV4: ip })[0]!))
  }
  session.print(table(COLUMNS.slice(0, 4), [['v4', ip, 'shared', 'global']]))
}

async function allocateV6(session: Session, options: V6Options) {
  if (options.network !== undefined && !options.private) {
    throw usage('--network is for private addresses; add --private.')
  }
  if (!options.private) {
    return showAllocated(session, await allocateIp(session, { type: 'v6', region: options.region }))
  }
  const wantsOrg = session.options.org || session.io.env.FLY_ORG
  const organizationId = wantsOrg ? (await orgOf(session)).id : undefined
  const wanted = { type: 'private_v6', organizationId, network: options.network } as const
  await showAllocated(session, await allocateIp(session, wanted))
}

/** What the services of the app's machines need and it does not have (flyctl-api 6.2). */
async function allocate(session: Session, region: string | undefined) {
  const [machines, found] = await Promise.all([listMachines(session), listIps(session)])
  const services = machines.flatMap((m) => (m.config.services ?? []) as Service[])
  const plan = ipPlanOf(services)
  if (plan.kind === 'none') {
    const how = machines.some((m) => groupOf(m)) ? 'has no services' : 'has no machines'
    throw usage(`${session.app} ${how}, so it needs no address. Deploy a fly.toml with a service.`)
  }
  const has = (type: string) => found.ips.some((ip) => ip.type === type)
  let done = 0
  if (plan.kind === 'dedicated' && !has('v4')) {
    await confirmPurchase(session, ` It is for ${plan.reason}.`)
    await showAllocated(session, await allocateIp(session, { type: 'v4', region }))
    done += 1
  }
  if (plan.kind === 'shared' && !has('v4') && !found.sharedV4) {
    await allocateSharedV4(session)
    done += 1
  }
  if ((plan.kind === 'shared' || plan.v6) && !has('v6')) {
    await showAllocated(session, await allocateIp(session, { type: 'v6', region }))
    done += 1
  }
  if (done === 0) session.print(`${session.app} already has the addresses that it needs.`)
}

async function release(session: Session, addresses: readonly string[]) {
  const ips = addresses.map(checkIp)
  for (const ip of ips) {
    const done = await releaseIp(session, ip)
    session.print(`Released ${ip} from ${session.app}`)
    sayReverted(session, session.app, done)
  }
}

function sayReverted(session: Session, app: string, done: Reverted): void {
  if (done.revertedTo) session.print(`${app} is back on the shared IPv4 ${done.revertedTo}`)
  if (done.notRevertedReason)
    session.note(`Warning: ${app} has no IPv4 now: ${done.notRevertedReason}`)
}

async function onlyV4(session: Session): Promise<string> {
  const { ips } = await listIps(session)
  const own = ips.filter((ip) => ip.type === 'v4').map((ip) => ip.address)
  if (own.length === 1) return own[0]!
  const what = own.length === 0 ? 'no dedicated IPv4 address' : `several (${own.join(', ')})`
  throw usage(`${session.app} has ${what}. ${own.length > 1 ? 'Name one with --ip.' : ''}`.trim())
}

interface Switched extends Reverted {
  readonly ipAddress: GqlIp
  readonly from?: string | null
  readonly edgesWaiting: readonly string[]
}
const switching = (name: string, type: string) => `mutation($input: ${type}!) {
  ${name}(input: $input) { app { name } ipAddress { id address type region createdAt }
    from edgesWaiting revertedTo notRevertedReason } }`
const SWITCHES = {
  detachIpAddress: switching('detachIpAddress', 'DetachIPAddressInput'),
  attachIpAddress: switching('attachIpAddress', 'AttachIPAddressInput'),
} as const

async function switchIp(
  session: Session,
  name: keyof typeof SWITCHES,
  ip: string,
): Promise<Switched> {
  const input = { appId: session.app, ip }
  const answer = session.client.graphql<Record<string, Switched>>(SWITCHES[name], { input })
  return (await session.during('Waiting for the edges', answer))[name]!
}

async function detach(session: Session, address: string | undefined) {
  const ip = checkIp(address ?? (await onlyV4(session)))
  const done = await switchIp(session, 'detachIpAddress', ip)
  if (session.wantsJson) return session.printJson(switchedJson(done))
  session.print(`Detached ${ip} from ${session.app}; its organization keeps it.`)
  session.print(
    `\`fairway ips attach-v4 ${ip} -a APP\` gives it to an app, \`ips release ${ip}\` back.`,
  )
  sayReverted(session, session.app, done)
  warnWaiting(session, done)
}

async function attach(session: Session, address: string | undefined) {
  if (!address) throw usage('Name the address: fairway ips attach-v4 ADDRESS -a APP.')
  const ip = checkIp(address)
  const done = await switchIp(session, 'attachIpAddress', ip)
  if (session.wantsJson) return session.printJson(switchedJson(done))
  session.print(`Attached ${ip} to ${session.app}${done.from ? ` (before: ${done.from})` : ''}`)
  if (done.from) sayReverted(session, done.from, done)
  warnWaiting(session, done)
}

const switchedJson = (done: Switched) => ({
  ...jsonOf(done.ipAddress),
  EdgesWaiting: done.edgesWaiting ?? [],
})

function warnWaiting(session: Session, { edgesWaiting }: Switched): void {
  if (!edgesWaiting?.length) return
  session.note(`Warning: these hosts have not switched yet: ${edgesWaiting.join(', ')}`)
}
