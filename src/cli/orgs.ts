import type { GqlOrg } from './api-types.ts'
import { usage } from './errors.ts'
import type { Session } from './session.ts'

const ORGS = `query($admin: Boolean!) { organizations(admin: $admin) {
  nodes { id slug rawSlug name type viewerRole internalNumericId } } }`

export async function allOrgs(session: Session): Promise<readonly GqlOrg[]> {
  const { organizations } = await session.client.graphql<{
    organizations: { nodes: readonly GqlOrg[] }
  }>(ORGS, { admin: false })
  return organizations.nodes
}

/** The org of -o or FLY_ORG; else the personal one, else the only one. */
export async function orgOf(session: Session): Promise<GqlOrg> {
  const wanted = session.options.org || session.io.env.FLY_ORG
  const orgs = await allOrgs(session)
  const slugs = orgs.map((org) => org.slug).join(', ') || 'none'
  if (wanted) {
    const found = orgs.find((org) => org.slug === wanted)
    if (found) return found
    throw usage(`Organization "${wanted}" was not found. Yours: ${slugs}.`)
  }
  const found =
    orgs.find((org) => org.type === 'PERSONAL') ?? (orgs.length === 1 ? orgs[0] : undefined)
  if (found) return found
  throw usage(`Several organizations; give -o with one of ${slugs}.`)
}
