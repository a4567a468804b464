import type { Command } from 'commander'
import { usage } from '../errors.ts'
import type { Io } from '../io.ts'
import { ago, table } from '../output.ts'
import { action, type Session } from '../session.ts'
import { releasesSplit } from './releases-split.ts'

const RELEASES = `query($appName: String!, $limit: Int!) { app(name: $appName) {
  releases: releasesUnprocessed(first: $limit) { nodes {
    id version description reason status imageRef stable user { id email name } createdAt } } } }`

interface ReleaseNode {
  readonly id: string
  readonly version: number
  readonly description: string
  readonly reason: string
  readonly status: string
  readonly imageRef: string
  readonly stable: boolean
  readonly user: { readonly id: string; readonly email: string; readonly name: string } | null
  readonly createdAt: string
}

export function registerReleases(program: Command, io: Io): void {
  const group = program.command('releases').description('Releases of an app')
  group
    .command('list', { isDefault: true })
    .alias('ls')
    .description("List an app's releases, newest first")
    .option('--image', 'show what each release runs')
    .option('--limit <n>', 'how many', '25')
    .action(
      action(io, (session, flags: { image?: boolean; limit: string }) => releases(session, flags)),
    )
  group
    .command('split [shares...]')
    .description('Show or set shares of new requests by release, such as 12=90 13=10')
    .option('--clear', 'every machine counts alike again')
    .action(
      action(io, (session, shares: readonly string[], flags: { clear?: boolean }) =>
        releasesSplit(session, shares, flags),
      ),
    )
}

async function releases(session: Session, flags: { image?: boolean; limit: string }) {
  const limit = Number(flags.limit)
  if (!Number.isInteger(limit) || limit < 1)
    throw usage(`--limit "${flags.limit}" is not a number.`)
  const variables = { appName: session.app, limit }
  const { app } = await session.client.graphql<{
    app: { releases: { nodes: readonly ReleaseNode[] } }
  }>(RELEASES, variables)
  const { nodes } = app.releases
  if (session.wantsJson) return session.printJson(nodes.map(jsonOf))
  if (nodes.length === 0) return session.print(`${session.app} has no release yet.`)
  const now = session.io.clock.now()
  session.print(
    table(
      ['Version', 'Status', 'Description', 'User', 'Date', ...(flags.image ? ['Image'] : [])],
      nodes.map((r) => [
        `v${r.version}`,
        r.status,
        r.description,
        r.user?.email,
        ago(r.createdAt, now),
        ...(flags.image ? [r.imageRef] : []),
      ]),
    ),
  )
}

const jsonOf = (release: ReleaseNode) => ({
  ID: release.id,
  Version: release.version,
  Stable: release.stable,
  Status: release.status,
  Description: release.description,
  Reason: release.reason,
  ImageRef: release.imageRef,
  User: release.user && {
    ID: release.user.id,
    Email: release.user.email,
    Name: release.user.name,
  },
  CreatedAt: release.createdAt,
})
