import {
  any,
  config,
  data,
  digits,
  exact,
  flag,
  has,
  int,
  int32,
  is,
  list,
  nodes,
  restApp,
  some,
  text,
  time,
} from './shapes.ts'
import { A, app, gql, rest } from './wire.ts'

/** Who asks, organizations and apps. */

export const VIEWER = gql(
  'VIEWER',
  'query{viewer{... on User{id email enablePaidHobby}... on Macaroon{email}}}',
  null,
  data({ viewer: exact({ id: some, email: some, enablePaidHobby: flag }) }),
)
const org = { id: some, slug: is('personal'), rawSlug: some, name: some, type: is('PERSONAL') }
export const ORGS = gql(
  'ORGS',
  'query($admin: Boolean!){organizations(admin: $admin){nodes{id slug rawSlug name type paidPlan billable viewerRole internalNumericId}}}',
  { admin: false },
  data({
    organizations: nodes(
      exact({
        ...org,
        paidPlan: flag,
        billable: flag,
        viewerRole: some,
        internalNumericId: digits,
      }),
    ),
  }),
  { keep: { org: 'data.organizations.nodes.0.id' } },
)
export const ORG = gql(
  'ORG',
  'query($slug: String!){organization(slug: $slug){id internalNumericId slug rawSlug name type billable}}',
  { slug: 'personal' },
  data({ organization: exact({ ...org, internalNumericId: digits, billable: flag }) }),
  { keep: { org: 'data.organization.id' } },
)
export const ORG_DETAIL = gql(
  'ORG_DETAIL',
  'query($slug: String!){organizationdetails: organization(slug: $slug){id slug rawSlug name type viewerRole internalNumericId remoteBuilderImage remoteBuilderApp{name}members{edges{cursor node{id name email}joinedAt role}}}}',
  { slug: 'personal' },
  data({
    organizationdetails: exact({
      ...org,
      viewerRole: some,
      internalNumericId: digits,
      remoteBuilderImage: text.nullable(),
      remoteBuilderApp: exact({ name: some }).nullable(),
      members: exact({
        edges: list(
          exact({
            cursor: some,
            node: exact({ id: some, name: some, email: some }),
            joinedAt: time,
            role: some,
          }),
        ).min(1),
      }),
    }),
  }),
)
export const ADD_ONS = gql(
  'ListOrganizationAddOns',
  'query ListOrganizationAddOns ($orgSlug: String!, $addOnType: AddOnType) { organization(slug: $orgSlug) { addOns(type: $addOnType) { nodes { id name addOnPlan { displayName description } privateIp primaryRegion readRegions options metadata } } } }',
  { orgSlug: 'personal', addOnType: 'tigris' },
  data({ organization: exact({ addOns: exact({ nodes: list(any).length(0) }) }) }),
  { operationName: 'ListOrganizationAddOns' },
)
export const REST_ORG = rest(
  'GET /api/v1/organizations/personal',
  exact({
    organization: has({
      id: some,
      internal_numeric_id: int32,
      slug: is('personal'),
      raw_slug: some,
      paid_plan: flag,
      personal: flag,
      billing_status: some,
      provisions_beta_extensions: flag,
      name: some,
      billable: flag,
      remote_builder_image: text,
    }),
  }),
)

// Apps.

export const APPS = (variables: object) =>
  gql(
    'APPS',
    'query($org: ID,$after: String){apps(type: "container",first: 200,after: $after,organizationId: $org){pageInfo{hasNextPage endCursor}nodes{id name deployed hostname platformVersion network organization{slug name}currentRelease{createdAt status}status}}}',
    variables,
    data({
      apps: exact({
        pageInfo: exact({ hasNextPage: is(false), endCursor: text.nullable() }),
        nodes: list(
          exact({
            id: some,
            name: some,
            deployed: flag,
            hostname: some,
            platformVersion: is('machines'),
            network: text.nullable(),
            organization: exact({ slug: some, name: some }),
            currentRelease: exact({ createdAt: time, status: some }).nullable(),
            status: some,
          }),
        ).min(1),
      }),
    }),
  )
export const APP = gql(
  'APP',
  'query($appName: String!){app(name: $appName){id internalNumericId name hostname deployed status version appUrl platformVersion currentRelease{evaluationId status inProgress version}config{definition}organization{id slug paidPlan}services{description protocol internalPort ports{port handlers}}ipAddresses{nodes{id address type createdAt}}sharedIpAddress cnameTarget imageDetails{registry repository tag digest version}machines{nodes{id name config state region createdAt app{name}ips{nodes{family kind ip maskSize}}host{id}}}postgresAppRole: role{name}}}',
  app,
  data({
    app: exact({
      id: is('shop'),
      internalNumericId: int32,
      name: is('shop'),
      hostname: some,
      deployed: flag,
      status: some,
      version: int,
      appUrl: some,
      platformVersion: is('machines'),
      currentRelease: exact({
        evaluationId: text,
        status: some,
        inProgress: flag,
        version: int,
      }).nullable(),
      config: exact({ definition: any }),
      organization: exact({ id: some, slug: is('personal'), paidPlan: flag }),
      services: list(
        exact({
          description: some,
          protocol: some,
          internalPort: int,
          ports: list(exact({ port: int.nullable(), handlers: list(some) })),
        }),
      ),
      ipAddresses: nodes(exact({ id: some, address: some, type: some, createdAt: time })),
      sharedIpAddress: text.nullable(),
      cnameTarget: some,
      imageDetails: exact({
        registry: some,
        repository: some,
        tag: text,
        digest: some,
        version: text,
      }).nullable(),
      machines: nodes(
        exact({
          id: some,
          name: some,
          config,
          state: some,
          region: some,
          createdAt: time,
          app: exact({ name: is('shop') }),
          ips: nodes(exact({ family: some, kind: some, ip: some, maskSize: int })),
          host: exact({ id: some }),
        }),
      ),
      postgresAppRole: is(null),
    }),
  }),
)
export const APP_COMPACT = gql(
  'APP_COMPACT',
  'query($appName: String!){appcompact: app(name: $appName){id internalNumericId name hostname cnameTarget deployed network status appUrl platformVersion organization{id internalNumericId slug paidPlan}postgresAppRole: role{name}}}',
  app,
  data({
    appcompact: exact({
      id: is('shop'),
      internalNumericId: int32,
      name: is('shop'),
      hostname: some,
      cnameTarget: some,
      deployed: flag,
      network: text.nullable(),
      status: some,
      appUrl: some,
      platformVersion: is('machines'),
      organization: exact({
        id: some,
        internalNumericId: digits,
        slug: is('personal'),
        paidPlan: flag,
      }),
      postgresAppRole: is(null),
    }),
  }),
)
export const APP_BASIC = gql(
  'APP_BASIC',
  'query($appName: String!){appbasic: app(name: $appName){id name platformVersion organization{id internalNumericId slug rawSlug paidPlan}}}',
  app,
  data({
    appbasic: exact({
      id: is('shop'),
      name: is('shop'),
      platformVersion: is('machines'),
      organization: exact({
        id: some,
        internalNumericId: digits,
        slug: some,
        rawSlug: some,
        paidPlan: flag,
      }),
    }),
  }),
)
export const APP_NETWORK = gql(
  'APP_NETWORK',
  'query($appName: String!){app(name: $appName){network}}',
  app,
  data({ app: exact({ network: is(null) }) }),
)
export const REST_APP = rest(`GET ${A}`, restApp)
