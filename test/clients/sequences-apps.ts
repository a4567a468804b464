import { launch, ofDeploy } from './machine-bodies.ts'
import type { Sequence, Step } from './replay.ts'
import {
  any,
  data,
  exact,
  graphqlError,
  has,
  is,
  list,
  release,
  restApp,
  restError,
  some,
} from './shapes.ts'
import { A, app, gql, M, rest } from './wire.ts'
import { ASSIGN, ASSIGNMENTS, EGRESS_APP } from './wire-addresses.ts'
import {
  ADD_ONS,
  APP,
  APP_BASIC,
  APP_COMPACT,
  APP_NETWORK,
  APPS,
  ORG,
  ORG_DETAIL,
  ORGS,
  REST_APP,
  VIEWER,
} from './wire-apps.ts'
import {
  GET_MACHINE,
  LEASE,
  LIST,
  leased,
  PASSING,
  PS,
  REFRESH,
  UNLEASE,
  WAIT,
} from './wire-machines.ts'
import {
  CONFIG_CURRENT,
  CREATE_RELEASE,
  CURRENT_VERSION,
  IMAGE_CHAIN,
  LATEST_IMAGE,
  PATCH_RELEASE,
  RELEASES,
} from './wire-releases.ts'

/** Commands about apps, their deploys, secrets and scale, in the order in which they work. */

const regions = rest(
  'GET /v1/platform/regions',
  exact({
    Regions: list(
      has({
        code: some,
        name: some,
        geo_region: is(['africa', 'asia_pacific', 'europe', 'north_america', 'south_america']),
        deprecated: is(false),
      }),
    ).min(3),
    Nearest: some,
  }),
)
const placements = rest(
  'POST /v1/platform/placements',
  exact({ Regions: list(exact({ Region: some, Count: is(1), Concurrency: is(1) })).length(3) }),
  { body: { compute: {}, region: 'iad,lhr,nrt', count: 3, org_slug: 'personal' } },
)

/** flyctl takes 13 s and refreshes beside what it does; here one step follows the other. */
const HELD_S = 120

export const BASICS: readonly Sequence[] = [
  { command: 'auth whoami', steps: [VIEWER] },
  { command: 'orgs list', steps: [ORGS] },
  { command: 'orgs show personal', steps: [ORG, ORG_DETAIL] },
  { command: 'platform regions', steps: [regions, placements] },
]

const create = (status: number, answer: Step['answer'], name = 'shop', network = '') =>
  rest('POST /v1/apps?wait=true', answer, {
    status,
    body: { name, org_slug: 'personal', network, app_role_id: '' },
  })

export const CREATION: readonly Sequence[] = [
  {
    command: 'status of an app that is not there',
    steps: [
      { ...APP_COMPACT, answer: graphqlError(/^Could not find App$/, 'NOT_FOUND') },
      { ...REST_APP, status: 404, answer: restError(/Could not find App/) },
    ],
  },
  { command: 'apps create shop -o personal', steps: [ORGS, create(201, restApp), REST_APP, APP] },
  {
    command: 'apps create shop, once more',
    steps: [ORGS, create(422, restError(/shop/, 'name_taken'))],
  },
  {
    command: 'apps create inside -o personal --network inner',
    steps: [
      ORGS,
      create(201, has({ name: is('inside'), network: is('inner') }), 'inside', 'inner'),
    ],
  },
  { command: 'apps list', steps: [APPS({})] },
  { command: 'apps list -o personal', steps: [ORG, APPS({ org: '<org>' })] },
]

const launchOne = rest(`POST ${M}`, has({ id: some, nonce: some, instance_id: some }), {
  body: launch(ofDeploy, { region: 'iad', lease_ttl: 300 }),
  keep: { machine: 'id', nonce: 'nonce' },
})

export const DEPLOYS: readonly Sequence[] = [
  {
    command: 'deploy --image IMAGE, the first time',
    steps: [
      REST_APP,
      ...IMAGE_CHAIN,
      LIST,
      LIST,
      ASSIGNMENTS,
      ASSIGN('v6'),
      ASSIGN('shared_v4'),
      CREATE_RELEASE,
      EGRESS_APP,
      PATCH_RELEASE('running'),
      launchOne,
      WAIT('started'),
      PASSING,
      PS,
      UNLEASE,
      PATCH_RELEASE('complete'),
      ASSIGNMENTS,
    ],
  },
  {
    command: 'deploy --image IMAGE, again',
    steps: [
      REST_APP,
      ...IMAGE_CHAIN,
      LIST,
      CREATE_RELEASE,
      EGRESS_APP,
      PATCH_RELEASE('running'),
      LEASE(HELD_S),
      REFRESH(HELD_S),
      leased(`POST ${M}/<machine>`, has({ id: some, instance_id: some }), {
        body: launch(ofDeploy, { region: 'iad' }),
      }),
      REFRESH(HELD_S),
      WAIT('started'),
      PASSING,
      UNLEASE,
      PATCH_RELEASE('complete'),
    ],
  },
  {
    command: 'status',
    steps: [
      APP_COMPACT,
      LIST,
      gql(
        'LATEST_IMAGE_DETAILS',
        'query($image: String!,$flyVersion: String){latestImageDetails(image: $image,flyVersion: $flyVersion){registry repository tag version digest}}',
        { image: 'shop:', flyVersion: '' },
        graphqlError(/^Unknown repository$/, 'NOT_FOUND'),
      ),
    ],
  },
  { command: 'status --json', steps: [APP_COMPACT, LIST, CURRENT_VERSION] },
  { command: 'releases', steps: [RELEASES(25)] },
  { command: 'services list', steps: [APP_COMPACT, LIST] },
  { command: 'config validate', steps: [CONFIG_CURRENT, LIST] },
  {
    command: 'any command on a terminal',
    steps: [
      gql(
        'HOST_ISSUES',
        'query($appName: String!){apphostissues: app(name: $appName){hostIssues{nodes{internalId message createdAt updatedAt}}}}',
        app,
        data({ apphostissues: exact({ hostIssues: exact({ nodes: list(any) }) }) }),
      ),
    ],
  },
]

const secret = has({ name: some, digest: some })

export const SECRETS_AND_SCALE: readonly Sequence[] = [
  {
    command: 'secrets set KEY=value',
    steps: [
      APP_COMPACT,
      rest(`POST ${A}/secrets`, has({ secrets: list(secret).length(1), version: is(1) }), {
        body: { values: { KEY: 'value', GONE: null } },
        keep: { secrets: 'version' },
      }),
      LIST,
      CONFIG_CURRENT,
      REST_APP,
      LIST,
      LATEST_IMAGE,
      CREATE_RELEASE,
      PATCH_RELEASE('running'),
      LEASE(HELD_S),
      leased(`POST ${M}/<machine>`, has({ id: some }), {
        body: launch(ofDeploy, { region: 'iad', min_secrets_version: 1 }),
      }),
      WAIT('started'),
      PASSING,
      UNLEASE,
      PATCH_RELEASE('complete'),
    ],
  },
  {
    command: 'secrets list',
    steps: [
      rest(`GET ${A}/secrets?version=<secrets>`, has({ secrets: list(secret).length(1) })),
      LIST,
      rest(`GET /api/v1/apps/shop/releases?limit=20`, exact({ releases: list(release).length(3) })),
    ],
  },
  {
    command: 'scale count 2 --yes',
    steps: [
      CONFIG_CURRENT,
      LIST,
      RELEASES(1),
      rest(`GET ${A}/volumes`, list(any).length(0)),
      LEASE(120),
      rest(`POST ${M}`, has({ id: some }), {
        body: launch(ofDeploy, { region: 'lhr' }),
        keep: { surplus: 'id' },
      }),
      rest(`GET ${M}/<surplus>/wait?state=started&timeout=60`, has({ ok: is(true) })),
      UNLEASE,
      EGRESS_APP,
    ],
  },
  {
    command: 'scale count 1 --yes',
    steps: [
      CONFIG_CURRENT,
      LIST,
      RELEASES(1),
      rest(`GET ${A}/volumes`, list(any).length(0)),
      rest(`POST ${M}/<surplus>/lease?ttl=120`, has({ status: is('success') }), {
        keep: { nonce: 'data.nonce' },
      }),
      leased(`DELETE ${M}/<surplus>?kill=true`),
      EGRESS_APP,
    ],
  },
  {
    command: 'proxy 8080 --select',
    steps: [
      APP_NETWORK,
      APP_BASIC,
      gql(
        'AgentGetInstances',
        'query AgentGetInstances ($appName: String!) { app(name: $appName) { organization { slug } id name allocations(showCompleted: false) { id region privateIP } machines { nodes { state id region ips { nodes { kind family ip } } } } } }',
        app,
        data({
          app: exact({
            organization: exact({ slug: is('personal') }),
            id: is('shop'),
            name: is('shop'),
            allocations: list(any).length(0),
            machines: exact({ nodes: list(has({ state: some, id: some, region: some })).min(1) }),
          }),
        }),
        { operationName: 'AgentGetInstances' },
      ),
    ],
  },
  { command: 'machine commands without an app', steps: [GET_MACHINE] },
]

export const DESTRUCTION: readonly Sequence[] = [
  {
    command: 'apps destroy shop --yes',
    steps: [
      APP,
      ORG,
      ADD_ONS,
      rest(`DELETE ${A}`, undefined, { status: 202 }),
      { ...REST_APP, status: 404, answer: restError(/Could not find App/) },
    ],
  },
]
