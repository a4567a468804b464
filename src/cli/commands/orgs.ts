import type { Command } from 'commander'
import type { GqlOrg } from '../api-types.ts'
import type { Io } from '../io.ts'
import { allOrgs, orgOf } from '../orgs.ts'
import { table, vertical } from '../output.ts'
import { action, type Session } from '../session.ts'

const ORG_DETAIL = `query($slug: String!) { organizationdetails: organization(slug: $slug) {
  id slug rawSlug name type viewerRole internalNumericId
  members { edges { node { id name email } joinedAt role } } } }`

interface OrgDetail extends GqlOrg {
  readonly viewerRole?: string
  readonly internalNumericId: string
  readonly members?: {
    readonly edges: readonly {
      readonly node: { readonly id: string; readonly name: string; readonly email: string }
      readonly joinedAt: string | null
      readonly role: string
    }[]
  }
}

export function registerOrgs(program: Command, io: Io): void {
  const orgs = program.command('orgs').alias('org').description('Organizations')
  orgs.command('list').alias('ls').description('List your organizations').action(action(io, list))
  orgs
    .command('show [slug]')
    .description('Show an organization and its members')
    .action(action(io, (session, slug: string | undefined) => show(session, slug)))
}

async function list(session: Session): Promise<void> {
  const orgs = await allOrgs(session)
  if (session.wantsJson) {
    return session.printJson(Object.fromEntries(orgs.map((org) => [org.slug, org.name])))
  }
  session.print(
    table(
      ['Name', 'Slug', 'Type'],
      orgs.map((org) => [org.name, org.slug, org.type]),
    ),
  )
}

async function show(session: Session, given: string | undefined): Promise<void> {
  const slug = given ?? (await orgOf(session)).slug
  const { organizationdetails: org } = await session.client.graphql<{
    organizationdetails: OrgDetail
  }>(ORG_DETAIL, { slug })
  const members = org.members?.edges ?? []
  if (session.wantsJson) {
    return session.printJson({
      ID: org.id,
      InternalNumericID: org.internalNumericId,
      Name: org.name,
      Slug: org.slug,
      Type: org.type,
      ViewerRole: org.viewerRole ?? '',
      Members: {
        Edges: members.map(({ node, joinedAt, role }) => ({
          Node: { ID: node.id, Name: node.name, Email: node.email },
          JoinedAt: joinedAt,
          Role: role,
        })),
      },
    })
  }
  session.print(
    vertical('Organization', [
      ['Name', org.name],
      ['Slug', org.slug],
      ['Type', org.type],
    ]),
  )
  const rows = members.map(({ node, role }) => [node.name, node.email, role])
  if (rows.length > 0) session.print(table(['Name', 'Email', 'Role'], rows))
}
