import type { Command } from 'commander'
import type { ApiApp } from '../api-types.ts'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { orgOf } from '../orgs.ts'
import { ago, plural, table } from '../output.ts'
import { action, type Session } from '../session.ts'

interface AppNode {
  readonly id: string
  readonly name: string
  readonly deployed: boolean
  readonly hostname: string
  readonly platformVersion: string
  readonly network: string | null
  readonly status: string
  readonly organization: { readonly name: string; readonly slug: string }
  readonly currentRelease: { readonly createdAt: string; readonly status: string } | null
}

const APPS = `query($org: ID, $after: String) {
  apps(type: "container", first: 200, after: $after, organizationId: $org) {
    pageInfo { hasNextPage endCursor }
    nodes { id name deployed hostname platformVersion network status
      organization { slug name } currentRelease { createdAt status } }
  } }`

interface AppsPage {
  readonly apps: {
    readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string }
    readonly nodes: readonly AppNode[]
  }
}

export function registerApps(program: Command, io: Io): void {
  const apps = program.command('apps').alias('app').description('Create, list and destroy apps')
  apps
    .command('create [name]')
    .description('Create an app; it has no machines and no addresses yet')
    .option('--network <name>', 'private network of the org for the app, for its whole life')
    .option('--name <name>', 'name of the app')
    .action(
      action(
        io,
        (session, name: string | undefined, options: { network?: string; name?: string }) =>
          create(session, name ?? options.name, options.network),
      ),
    )
  apps
    .command('list')
    .alias('ls')
    .description('List apps')
    .option('-q, --quiet', 'names only')
    .action(action(io, (session, options: { quiet?: boolean }) => list(session, options.quiet)))
  apps
    .command('destroy [names...]')
    .alias('rm')
    .alias('delete')
    .description('Destroy apps with their machines, addresses and secrets')
    .action(action(io, (session, names: string[]) => destroy(session, names)))
}

/** Makes an app in the org of -o, or in the only one. */
export async function createApp(session: Session, name: string, network = ''): Promise<ApiApp> {
  const org = await orgOf(session)
  const body = { name, org_slug: org.slug, network, app_role_id: '' }
  return session.client.request<ApiApp>('POST', '/v1/apps', { query: { wait: true }, body })
}

async function create(session: Session, name: string | undefined, network: string | undefined) {
  const wanted = name ?? session.options.app
  if (!wanted) throw usage('The app needs a name: fairway apps create NAME.')
  const app = await createApp(session, wanted, network)
  if (session.wantsJson) return session.printJson(await compact(session, app.name ?? wanted))
  session.print(`New app created: ${app.name ?? wanted}`)
}

async function compact(session: Session, name: string) {
  const app = await session.client.get<ApiApp>(`/v1/apps/${encodeURIComponent(name)}`)
  const { organization: org } = app
  return {
    ID: app.id,
    Name: app.name,
    Status: app.status,
    Deployed: app.status !== 'pending',
    Network: app.network ?? '',
    Organization: { Name: org.name ?? org.slug, Slug: org.slug },
  }
}

export async function allApps(session: Session): Promise<AppNode[]> {
  const org = session.options.org === undefined ? undefined : (await orgOf(session)).id
  const nodes: AppNode[] = []
  let after: string | undefined
  do {
    const { apps } = await session.client.graphql<AppsPage>(APPS, { org, after })
    nodes.push(...apps.nodes)
    after = apps.pageInfo.hasNextPage ? apps.pageInfo.endCursor : undefined
  } while (after !== undefined)
  return nodes
}

async function list(session: Session, quiet: boolean | undefined) {
  const apps = await session.during('Reading the apps', allApps(session))
  if (session.wantsJson) return session.printJson(apps.map(jsonOf))
  if (quiet) return session.print(apps.map((app) => app.name).join('\n'))
  if (apps.length === 0) return session.print('No apps. Deploy one: fairway deploy -c fly.toml')
  const networks = apps.some((app) => app.network && app.network !== 'default')
  const now = session.io.clock.now()
  session.print(
    table(
      ['Name', 'Owner', 'Status', ...(networks ? ['Network'] : []), 'Latest Deploy'],
      apps.map((app) => [
        app.name,
        app.organization.slug,
        app.status,
        ...(networks ? [app.network] : []),
        ago(app.currentRelease?.createdAt, now),
      ]),
    ),
  )
}

const jsonOf = (app: AppNode) => ({
  ID: app.id,
  Name: app.name,
  Status: app.status,
  Deployed: app.deployed,
  Hostname: app.hostname,
  PlatformVersion: app.platformVersion,
  Network: app.network ?? '',
  Organization: { Name: app.organization.name, Slug: app.organization.slug },
  CurrentRelease: app.currentRelease && {
    CreatedAt: app.currentRelease.createdAt,
    Status: app.currentRelease.status,
  },
})

async function destroy(session: Session, names: readonly string[]) {
  const all = names.length > 0 ? names : session.options.app ? [session.options.app] : []
  if (all.length === 0) throw usage('Name the apps to destroy: fairway apps destroy NAME...')
  await session.confirm(
    `Destroy ${plural(all.length, 'app')} (${all.join(', ')}) with machines, addresses and secrets?`,
  )
  for (const name of all) {
    const path = `/v1/apps/${encodeURIComponent(name)}`
    await session.during(`Destroying ${name}`, session.client.request('DELETE', path))
    session.print(`Destroyed app ${name}`)
  }
}
