import {
  data,
  digits,
  exact,
  flag,
  has,
  int,
  is,
  list,
  release,
  some,
  text,
  time,
} from './shapes.ts'
import { app, gql, rest } from './wire.ts'
import { REST_ORG } from './wire-apps.ts'

/** Images, builds and releases. */

export const RESOLVE_IMAGE = gql(
  'RESOLVE_IMAGE',
  'query($appName: String!,$imageRef: String!){app(name: $appName){id image(ref: $imageRef){id digest ref compressedSize: compressedSizeFull manifest}}}',
  { ...app, imageRef: '<image>' },
  data({
    app: exact({
      id: is('shop'),
      image: exact({
        id: some,
        digest: some,
        ref: some,
        compressedSize: digits,
        manifest: has({}).nullable(),
      }),
    }),
  }),
  { keep: { ref: 'data.app.image.ref', digest: 'data.app.image.digest' } },
)
const gqlRelease = exact({
  id: some,
  version: int,
  description: text,
  reason: text,
  status: some,
  imageRef: some,
  stable: flag,
  user: exact({ id: some, email: some, name: some }),
  createdAt: time,
})
export const RELEASES = (limit: number) =>
  gql(
    'RELEASES',
    'query($appName: String!,$limit: Int!){app(name: $appName){releases: releasesUnprocessed(first: $limit){nodes{id version description reason status imageRef stable user{id email name}createdAt}}}}',
    // It sends a variable that the query does not declare.
    { ...app, limit, status: '' },
    data({ app: exact({ releases: exact({ nodes: list(gqlRelease).min(1).max(limit) }) }) }),
  )
export const CURRENT_VERSION = gql(
  'CURRENT_VERSION',
  'query($appName: String!){app(name: $appName){currentRelease: currentReleaseUnprocessed{version}}}',
  app,
  data({ app: exact({ currentRelease: exact({ version: int }) }) }),
)
export const CONFIG_CURRENT = gql(
  'FlyctlConfigCurrentRelease',
  'query FlyctlConfigCurrentRelease ($appName: String!) { app(name: $appName) { currentReleaseUnprocessed { configDefinition } } }',
  app,
  data({
    app: exact({
      currentReleaseUnprocessed: exact({ configDefinition: has({ app: is('shop') }) }),
    }),
  }),
  { operationName: 'FlyctlConfigCurrentRelease' },
)
export const LATEST_IMAGE = gql(
  'LatestImage',
  'query LatestImage ($appName: String!) { app(name: $appName) { currentReleaseUnprocessed { id version imageRef } } }',
  app,
  data({
    app: exact({
      currentReleaseUnprocessed: exact({ id: some, version: int, imageRef: some }),
    }),
  }),
  { operationName: 'LatestImage' },
)
const build = exact({ id: int, status: some, wallclock_time_ms: int })
export const BUILD = rest('POST /api/v1/builds', build, {
  body: {
    app_name: 'shop',
    builder_type: 'local',
    strategies_available: ['Local Image Reference', 'Remote Image Reference'],
  },
  keep: { build: 'id' },
})
export const FINISH_BUILD = rest('POST /api/v1/builds/finish', build, {
  body: {
    build_id: 1,
    app_name: 'shop',
    machine_id: '',
    status: 'completed',
    strategies_attempted: [
      { error: '', note: '', result: 'success', strategy: 'Remote Image Reference' },
    ],
    builder_meta: {
      builder_type: '',
      buildkit_enabled: false,
      docker_version: '',
      platform: '',
      remote_app_name: '',
      remote_machine_id: '',
    },
    final_image: { id: '', size_bytes: 0, tag: '<image>' },
    timings: {
      build_and_push_ms: -1,
      build_ms: -1,
      builder_init_ms: -1,
      context_build_ms: -1,
      image_build_ms: -1,
      push_ms: -1,
    },
    logs: '',
  },
})
export const CREATE_RELEASE = rest('POST /api/v1/releases', exact({ release }), {
  body: {
    app_name: 'shop',
    build_id: 1,
    definition: { app: 'shop', primary_region: 'iad', http_service: { internal_port: 8080 } },
    image: '<image>',
    strategy: 'ROLLING',
  },
  keep: { release: 'release.id', version: 'release.version' },
})
export const PATCH_RELEASE = (status: string) =>
  rest('PATCH /api/v1/releases/<release>', has({}), {
    name: `PATCH releases ${status}`,
    body: { status, metadata: null },
  })
/** How an image becomes one that machines run; step 3 of these goes elsewhere. */
export const IMAGE_CHAIN = [REST_ORG, BUILD, RESOLVE_IMAGE, FINISH_BUILD]
