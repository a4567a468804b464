import { data, exact, flag, is, list, nodes, some, text, time } from './shapes.ts'
import { A, app, gql, rest } from './wire.ts'

/** Addresses that lead in, and those that machines leave by. */

export const IPS = (...types: readonly string[]) =>
  gql(
    'IPS',
    'query($appName: String!){app(name: $appName){ipAddresses{nodes{id address type region createdAt network{name organization{slug}}serviceName}}sharedIpAddress}}',
    app,
    data({
      app: exact({
        ipAddresses: exact({
          nodes: list(
            exact({
              id: some,
              address: some,
              // The shared one is not among them: the client adds it itself.
              type: types.length > 0 ? is(types) : some,
              region: some,
              createdAt: time,
              network: exact({ name: some, organization: exact({ slug: some }) }).nullable(),
              serviceName: text.nullable(),
            }),
          ),
        }),
        sharedIpAddress: text.nullable(),
      }),
    }),
  )
export const ALLOC_IP = (input: object, type: string, keep: string) =>
  gql(
    `ALLOC_IP ${type}`,
    'mutation($input: AllocateIPAddressInput!){allocateIpAddress(input: $input){ipAddress{id address type region createdAt}}}',
    { input: { appId: 'shop', region: '', type, ...input } },
    data({
      allocateIpAddress: exact({
        ipAddress: exact({
          id: some,
          address: some,
          type: is(type),
          region: some,
          createdAt: time,
        }),
      }),
    }),
    { keep: { [keep]: 'data.allocateIpAddress.ipAddress.address' } },
  )
export const ALLOC_SHARED = gql(
  'ALLOC_SHARED',
  'mutation($input: AllocateIPAddressInput!){allocateIpAddress(input: $input){app{sharedIpAddress}}}',
  { input: { appId: 'shop', type: 'shared_v4', region: '' } },
  data({ allocateIpAddress: exact({ app: exact({ sharedIpAddress: some }) }) }),
  { keep: { shared: 'data.allocateIpAddress.app.sharedIpAddress' } },
)
export const RELEASE_IP = (ip: string) =>
  gql(
    'RELEASE_IP',
    'mutation($input: ReleaseIPAddressInput!){releaseIpAddress(input: $input){clientMutationId}}',
    { input: { appId: 'shop', ipAddressId: null, ip } },
    data({ releaseIpAddress: exact({ clientMutationId: is(null) }) }),
  )
const egressNodes = nodes(
  exact({ id: some, ip: some, version: is([4, 6]), region: some, updatedAt: time }),
)
export const EGRESS_APP = gql(
  'EGRESS_APP',
  'query($appName: String!){app(name: $appName){egressIpAddresses{nodes{id ip version region updatedAt}}}}',
  app,
  data({ app: exact({ egressIpAddresses: egressNodes }) }),
)
export const EGRESS_MACHINES = gql(
  'EGRESS_MACHINES',
  'query($appName: String!){app(name: $appName){machines{nodes{id egressIpAddresses{nodes{id ip version region updatedAt}}}}}}',
  app,
  data({ app: exact({ machines: nodes(exact({ id: some, egressIpAddresses: egressNodes })) }) }),
)
export const ALLOC_EGRESS = (input: object) =>
  gql(
    'ALLOC_EGRESS',
    'mutation($input: AllocateEgressIPAddressInput!){allocateEgressIpAddress(input: $input){v4,v6}}',
    { input: { appId: 'shop', machineId: '', region: '', ...input } },
    data({ allocateEgressIpAddress: exact({ v4: some, v6: some }) }),
    {
      keep: {
        egressV4: 'data.allocateEgressIpAddress.v4',
        egressV6: 'data.allocateEgressIpAddress.v6',
      },
    },
  )
export const RELEASE_EGRESS = (input: object) =>
  gql(
    'RELEASE_EGRESS',
    'mutation($input: ReleaseEgressIPAddressInput!){releaseEgressIpAddress(input: $input){v4 v6 clientMutationId}}',
    { input: { appId: 'shop', machineId: '', ip: '', ...input } },
    data({
      releaseEgressIpAddress: exact({
        v4: some.nullable(),
        v6: some.nullable(),
        clientMutationId: is(null),
      }),
    }),
  )
const assignment = exact({
  ip: some,
  region: some,
  service_name: text,
  shared: flag,
  created_at: time,
})
export const ASSIGNMENTS = rest(`GET ${A}/ip_assignments`, exact({ ips: list(assignment) }))
export const ASSIGN = (type: string) =>
  rest(`POST ${A}/ip_assignments`, assignment, {
    name: `POST ip_assignments ${type}`,
    body: { type, region: '', org_slug: 'personal', network: '', service_name: '' },
  })
