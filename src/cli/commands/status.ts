import type { Command } from 'commander'
import { type ApiMachine, groupOf } from '../api-types.ts'
import { portsText, problemText } from '../egress-words.ts'
import type { Io } from '../io.ts'
import { listMachines } from '../machines.ts'
import { plural, table, vertical } from '../output.ts'
import { currentRelease } from '../releases.ts'
import { action, type Session } from '../session.ts'
import { checksText, imageText } from './machine-views.ts'

const APP_COMPACT = `query($appName: String!) { appcompact: app(name: $appName) {
  id name hostname deployed network status appUrl platformVersion
  organization { id slug paidPlan } } }`

interface AppCompact {
  readonly id: string
  readonly name: string
  readonly hostname: string
  readonly deployed: boolean
  readonly network: string | null
  readonly status: string
  readonly appUrl: string | null
  readonly platformVersion: string
  readonly organization: { readonly id: string; readonly slug: string }
}

export function registerStatus(program: Command, io: Io): void {
  program.command('status').description('Show an app and its machines').action(action(io, status))
}

async function status(session: Session): Promise<void> {
  const [{ appcompact: app }, machines] = await session.during(
    `Reading ${session.app}`,
    Promise.all([
      session.client.graphql<{ appcompact: AppCompact }>(APP_COMPACT, { appName: session.app }),
      listMachines(session),
    ]),
  )
  if (session.wantsJson) return session.printJson(await statusJson(session, app, machines))
  const deployed = machines.filter((machine) => groupOf(machine) !== undefined)
  const newest = deployed.at(-1)
  session.print(
    vertical('App', [
      ['Name', app.name],
      ['Owner', app.organization.slug],
      ['Hostname', app.hostname],
      ['Image', newest ? imageText(newest) : '-'],
      ...(app.network && app.network !== 'default' ? [['Network', app.network] as const] : []),
    ]),
  )
  if (deployed.length > 0) {
    session.print('Machines')
    session.print(machineTable(deployed))
  } else session.print('No machines. Deploy the app: fairway deploy\n')
  printEgress(session, machines)
  const others = machines.length - deployed.length
  if (others > 0) {
    const verb = others === 1 ? 'was' : 'were'
    session.print(`${plural(others, 'machine')} ${verb} not made by a deploy: fairway machine list`)
  }
}

const machineTable = (machines: readonly ApiMachine[]): string =>
  table(
    ['Process', 'ID', 'Version', 'Region', 'State', 'Role', 'Checks', 'Last Updated'],
    machines.map((machine) => [
      groupOf(machine),
      machine.host_status && machine.host_status !== 'ok' ? `${machine.id}*` : machine.id,
      machine.config.metadata?.fly_release_version ?? '',
      machine.region,
      machine.cordoned ? `${machine.state} (cordoned)` : machine.state,
      '',
      checksSummary(machine),
      machine.updated_at,
    ]),
  )

/** Only of machines with static addresses: the others' change and are nobody's to admit. */
function printEgress(session: Session, machines: readonly ApiMachine[]): void {
  const fixed = machines.filter(({ egress }) => egress?.v4 || egress?.v6)
  if (fixed.length > 0) {
    session.print('Egress')
    session.print(
      table(
        ['ID', 'IPv4', 'IPv6', 'Ports'],
        fixed.map(({ id, egress }) => [
          id,
          egress?.v4 ?? '-',
          egress?.v6 ?? '-',
          typeof egress?.slot === 'number' ? portsText(egress.slot, egress.count ?? 1) : '',
        ]),
      ),
    )
  }
  for (const machine of machines) {
    const problem = problemText(machine)
    if (problem) session.print(`${problem}\n`)
  }
}

function checksSummary(machine: ApiMachine): string {
  const counts = checksText(machine)
  if (counts === '') return ''
  const failing = (machine.checks ?? []).filter((check) => check.status !== 'passing')
  const worst = failing.some((c) => c.status === 'critical') ? 'critical' : 'warning'
  return failing.length === 0 ? `${counts} passing` : `${counts} passing, ${worst}`
}

async function statusJson(session: Session, app: AppCompact, machines: readonly ApiMachine[]) {
  const release = await currentRelease(session)
  return {
    ID: app.id,
    Name: app.name,
    Deployed: app.deployed,
    Status: app.status,
    Hostname: app.hostname,
    Version: release?.version ?? 0,
    AppURL: app.appUrl ?? `http://${app.hostname}/`,
    Organization: { ID: app.organization.id, Slug: app.organization.slug },
    PlatformVersion: app.platformVersion,
    Machines: machines,
  }
}
