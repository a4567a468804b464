import type { ApiMachine } from '../api-types.ts'
import { listEgress } from '../egress-api.ts'
import { listIps } from '../ips.ts'
import { listMachines } from '../machines.ts'
import { allOrgs } from '../orgs.ts'
import type { Session } from '../session.ts'
import type { Candidate, Source } from './wanted.ts'

/** Names from the API, for completion. */

type Lookup = (session: Session) => Promise<readonly Candidate[]>

const named = (value: string, description = ''): Candidate => ({ value, description })

const describe = ({ id, name, state, region }: ApiMachine): Candidate =>
  named(id, `${name} ${state} ${region}`)

export const LOOKUPS: Readonly<Record<Exclude<Source, 'files'>, Lookup>> = {
  apps: async ({ client }) => {
    const { apps } = await client.get<{ apps: readonly { name: string; status: string }[] }>(
      '/v1/apps',
    )
    return apps.map(({ name, status }) => named(name, status))
  },
  machines: async (session) => (await listMachines(session)).map(describe),
  regions: async ({ client }) => {
    const { Regions } = await client.get<{ Regions: readonly { code: string; name: string }[] }>(
      '/v1/platform/regions',
    )
    return Regions.map(({ code, name }) => named(code, name))
  },
  orgs: async (session) => (await allOrgs(session)).map(({ slug, name }) => named(slug, name)),
  addresses: async (session) => {
    const { ips, sharedV4 } = await listIps(session)
    const shared = sharedV4 ? [named(sharedV4, 'shared_v4')] : []
    return [
      ...ips.map(({ address, type, region }) => named(address, `${type} ${region}`)),
      ...shared,
    ]
  },
  'egress-addresses': async (session) =>
    (await listEgress(session)).map(({ ip, region, state }) => named(ip, `${region} ${state}`)),
  secrets: async (session) => {
    const path = session.appPath('secrets')
    const { secrets } = await session.client.get<{ secrets: readonly { name: string }[] }>(path)
    return secrets.map(({ name }) => named(name))
  },
  'outbound-proxies': async (session) => {
    const slug = session.options.org || session.io.env.FLY_ORG
    const orgs = slug ? [{ slug }] : await allOrgs(session)
    const lists = await Promise.all(
      orgs.map((org) =>
        session.client.get<{ outbound_proxies: readonly { name: string }[] }>(
          `/api/v1/orgs/${encodeURIComponent(org.slug)}/outbound_proxies`,
        ),
      ),
    )
    return lists.flatMap((list) => list.outbound_proxies.map(({ name }) => named(name)))
  },
}
