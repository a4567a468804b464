import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { allocateAddress } from '../../control/addresses.ts'
import { DEFINITION, DIGEST, IMAGE, type TestGraphql, testGraphql } from './testing.ts'

/** The operations of flyctl-api 3, in the compact form in which clients send them. */

let t: TestGraphql
let ask: TestGraphql['ask']
let refused: TestGraphql['refused']
before(async () => {
  t = await testGraphql()
  ;({ ask, refused } = t)
})
after(() => t.close())

const app = { appName: 'web' }

test('VIEWER', async () => {
  const query = 'query{viewer{... on User{id email enablePaidHobby}... on Macaroon{email}}}'
  const { viewer } = await ask(query)
  assert.deepEqual(viewer, { id: 'user-1', email: 'ada@example.com', enablePaidHobby: false })
})

test('ORGS, ORG and ORG_DETAIL: the internal numeric id is text', async () => {
  const orgs = await ask(
    'query($admin: Boolean!){organizations(admin: $admin){nodes{id slug rawSlug name type paidPlan billable viewerRole internalNumericId}}}',
    { admin: false },
  )
  assert.equal(orgs.organizations.nodes.length, 1)
  assert.deepEqual(orgs.organizations.nodes[0].internalNumericId, '1')
  assert.equal(orgs.organizations.nodes[0].type, 'PERSONAL')
  const { organization } = await ask(
    'query($slug: String!){organization(slug: $slug){id internalNumericId slug rawSlug name type billable}}',
    { slug: 'personal' },
  )
  assert.equal(organization.slug, 'personal')
  const detail = await ask(
    'query($slug: String!){organizationdetails: organization(slug: $slug){id slug rawSlug name type viewerRole internalNumericId remoteBuilderImage remoteBuilderApp{name} members{edges{cursor node{id name email} joinedAt role}}}}',
    { slug: 'personal' },
  )
  assert.equal(detail.organizationdetails.members.edges[0].node.email, 'ada@example.com')
})

test('REGIONS_GQL, NEAREST and NEAREST_WG', async () => {
  const { platform } = await ask(
    'query{platform{requestRegion regions{name code latitude longitude gatewayAvailable requiresPaidPlan deprecated}}}',
  )
  assert.deepEqual(
    platform.regions.map((region: { code: string }) => region.code),
    ['iad', 'lhr', 'nrt'],
  )
  for (const argument of ['', '(wireguardGateway: true)']) {
    const { nearestRegion } = await ask(
      `query{nearestRegion${argument}{code name gatewayAvailable deprecated}}`,
    )
    assert.equal(nearestRegion.code, 'iad')
  }
})

const APPS =
  'query($org: ID,$after: String){apps(type: "container",first: 200,after: $after,organizationId: $org){pageInfo{hasNextPage endCursor}nodes{id name deployed hostname platformVersion network organization{slug name}currentRelease{createdAt status}status}}}'

test('APPS, whole and page by page', async () => {
  const { apps } = await ask(APPS, {})
  assert.deepEqual(
    apps.nodes.map((node: { name: string }) => node.name),
    ['bare', 'web'],
  )
  assert.deepEqual(apps.nodes[0], {
    id: 'bare',
    name: 'bare',
    deployed: false,
    hostname: 'bare.fairway.test',
    platformVersion: 'machines',
    network: 'apart',
    organization: { slug: 'personal', name: 'Personal' },
    currentRelease: null,
    status: 'pending',
  })
  assert.equal(apps.nodes[1].currentRelease.status, 'complete')
  const pages = APPS.replace('first: 200', 'first: 1')
  const first = (await ask(pages, { org: 'org-1' })).apps
  assert.deepEqual([first.nodes[0].name, first.pageInfo.hasNextPage], ['bare', true])
  const second = (await ask(pages, { org: 'org-1', after: first.pageInfo.endCursor })).apps
  assert.deepEqual([second.nodes[0].name, second.pageInfo.hasNextPage], ['web', false])
})

const APP =
  'query($appName: String!){app(name: $appName){id internalNumericId name hostname deployed status version appUrl platformVersion currentRelease{evaluationId status inProgress version}config{definition}organization{id slug paidPlan}services{description protocol internalPort ports{port handlers}}ipAddresses{nodes{id address type createdAt}}sharedIpAddress cnameTarget imageDetails{registry repository tag digest version}machines{nodes{id name config state region createdAt app{name}ips{nodes{family kind ip maskSize}}host{id}}}postgresAppRole: role{name}}}'

test('APP with everything that hangs on it', async () => {
  const found = (await ask(APP, app)).app
  assert.equal(typeof found.internalNumericId, 'number')
  assert.deepEqual([found.version, found.deployed, found.status], [1, true, 'deployed'])
  assert.deepEqual(found.config.definition, DEFINITION)
  assert.deepEqual(found.services, [
    {
      description: 'tcp 8080',
      protocol: 'tcp',
      internalPort: 8080,
      ports: [
        { port: 80, handlers: ['http'] },
        { port: null, handlers: [] },
      ],
    },
  ])
  assert.equal(found.imageDetails.digest, `sha256:${DIGEST}`)
  assert.equal(found.postgresAppRole, null)
  const [machine] = found.machines.nodes
  assert.deepEqual([machine.id, machine.region, machine.host.id], [t.machineId, 'lhr', 'lhr1'])
  assert.equal(machine.config.image, IMAGE)
  assert.deepEqual([machine.ips.nodes[0].kind, machine.ips.nodes[0].family], ['privatenet', 'v6'])
})

test('APP_COMPACT, APP_BASIC, APP_NETWORK and CNAME_TARGET', async () => {
  const compact = await ask(
    'query($appName: String!){appcompact: app(name: $appName){id internalNumericId name hostname cnameTarget deployed network status appUrl platformVersion organization{id internalNumericId slug paidPlan}postgresAppRole: role{name}}}',
    app,
  )
  assert.equal(typeof compact.appcompact.organization.internalNumericId, 'string')
  const basic = await ask(
    'query($appName: String!){appbasic: app(name: $appName){id name platformVersion organization{id internalNumericId slug rawSlug paidPlan}}}',
    app,
  )
  assert.equal(basic.appbasic.id, 'web')
  const network = 'query($appName: String!){app(name: $appName){network}}'
  assert.equal((await ask(network, app)).app.network, null)
  assert.equal((await ask(network, { appName: 'bare' })).app.network, 'apart')
  const cname = await ask('query($appName: String!){app(name: $appName){cnameTarget}}', app)
  assert.equal(cname.app.cnameTarget, 'web.fairway.test')
})

test('RESOLVE_IMAGE and LATEST_IMAGE_DETAILS', async () => {
  const resolve =
    'query($appName: String!,$imageRef: String!){app(name: $appName){id image(ref: $imageRef){id digest ref compressedSize: compressedSizeFull manifest}}}'
  const { image } = (await ask(resolve, { ...app, imageRef: IMAGE })).app
  assert.deepEqual([image.ref, image.compressedSize], [IMAGE, '1234'])
  const foreign = await refused(resolve, { ...app, imageRef: 'nginx:latest' })
  assert.match(foreign.message, /nginx:latest.*cannot be run/)
  const missing = await refused(resolve, { ...app, imageRef: `sha256:${'c'.repeat(64)}` })
  assert.match(missing.message, /could not find image/)
  const latest = await refused(
    'query($image: String!,$flyVersion: String){latestImageDetails(image: $image,flyVersion: $flyVersion){registry repository tag version digest}}',
    { image: 'web:latest', flyVersion: '' },
  )
  assert.equal(latest.message, 'Unknown repository')
})

test('RELEASES (with a variable that is not declared), CURRENT_RELEASE and CURRENT_VERSION', async () => {
  const fields = 'id version description reason status imageRef stable user{id email name}createdAt'
  const { releases } = (
    await ask(
      `query($appName: String!,$limit: Int!){app(name: $appName){releases: releasesUnprocessed(first: $limit){nodes{${fields}}}}}`,
      { ...app, limit: 25, status: 'complete' },
    )
  ).app
  assert.deepEqual([releases.nodes[0].version, releases.nodes[0].stable], [1, true])
  const current = `query($appName: String!){app(name: $appName){currentRelease: currentReleaseUnprocessed{${fields}}}}`
  assert.equal((await ask(current, app)).app.currentRelease.imageRef, IMAGE)
  assert.equal((await ask(current, { appName: 'bare' })).app.currentRelease, null)
  const version =
    'query($appName: String!){app(name: $appName){currentRelease: currentReleaseUnprocessed{version}}}'
  assert.equal((await ask(version, app)).app.currentRelease.version, 1)
})

test('shares of releases are set, read and refused', async () => {
  const set =
    'mutation($input: SetReleaseSplitInput!){setReleaseSplit(input: $input){app{releaseSplit{version weight}}}}'
  const shares = [{ version: 1, weight: 100 }]
  const done = await ask(set, { input: { appId: 'web', shares } })
  assert.deepEqual(done.setReleaseSplit.app.releaseSplit, shares)
  const get = 'query($appName: String!){app(name: $appName){releaseSplit{version weight}}}'
  assert.deepEqual((await ask(get, app)).app.releaseSplit, shares)
  const unknown = { appId: 'web', shares: [{ version: 99, weight: 1 }] }
  assert.match((await refused(set, { input: unknown })).message, /release 99 is none of app "web"/)
  await ask(set, { input: { appId: 'web', shares: [] } })
  assert.deepEqual((await ask(get, app)).app.releaseSplit, [])
})

test('GET_MACHINE, HOST_ISSUES', async () => {
  const get =
    'query($machineId: String!){gqlmachine: machine(machineId: $machineId){id name app{name organization{id slug}}}}'
  const { gqlmachine } = await ask(get, { machineId: t.machineId })
  assert.deepEqual(gqlmachine.app, { name: 'web', organization: { id: 'org-1', slug: 'personal' } })
  for (const unknown of ['00000000000000', '../web']) {
    assert.match((await refused(get, { machineId: unknown })).message, /machine not found/)
  }
  const issues = await ask(
    'query($appName: String!){apphostissues: app(name: $appName){hostIssues{nodes{internalId message createdAt updatedAt}}}}',
    app,
  )
  assert.deepEqual(issues.apphostissues.hostIssues.nodes, [])
})

const IPS =
  'query($appName: String!){app(name: $appName){ipAddresses{nodes{id address type region createdAt network{name organization{slug}}serviceName}}sharedIpAddress}}'
const ALLOC_IP =
  'mutation($input: AllocateIPAddressInput!){allocateIpAddress(input: $input){ipAddress{id address type region createdAt}}}'
const ALLOC_SHARED =
  'mutation($input: AllocateIPAddressInput!){allocateIpAddress(input: $input){app{sharedIpAddress}}}'
const RELEASE_IP =
  'mutation($input: ReleaseIPAddressInput!){releaseIpAddress(input: $input){clientMutationId}}'

test('ALLOC_IP, ALLOC_SHARED, IPS and RELEASE_IP with inputs as clients send them', async () => {
  const input = { appId: 'web', region: '' }
  const v6 = await ask(ALLOC_IP, { input: { ...input, type: 'v6' } })
  const { ipAddress } = v6.allocateIpAddress
  assert.deepEqual([ipAddress.type, ipAddress.region], ['v6', 'global'])
  const regional = await ask(ALLOC_IP, { input: { ...input, type: 'v4', region: 'lhr' } })
  assert.equal(regional.allocateIpAddress.ipAddress.region, 'lhr')
  const dedicated = regional.allocateIpAddress.ipAddress.address
  const beside = await refused(ALLOC_SHARED, { input: { ...input, type: 'shared_v4' } })
  assert.match(beside.message, new RegExp(`fairway ips release ${dedicated} -a web`))
  assert.equal(beside.extensions.code, 'HAS_DEDICATED_V4')
  const flycast = await ask(ALLOC_IP, {
    input: { ...input, type: 'private_v6', organizationId: 'org-1', network: 'apart' },
  })
  assert.match(flycast.allocateIpAddress.ipAddress.address, /^fdaa:0:\d+:0:1::1$/)
  const listed = (await ask(IPS, app)).app
  assert.equal(listed.sharedIpAddress, null)
  const ofPrivate = listed.ipAddresses.nodes.find((n: { type: string }) => n.type === 'private_v6')
  assert.deepEqual(ofPrivate.network, { name: 'apart', organization: { slug: 'personal' } })
  assert.equal(listed.ipAddresses.nodes.length, 3)
  for (const { address } of listed.ipAddresses.nodes) {
    const released = await ask(RELEASE_IP, {
      input: { appId: 'web', ipAddressId: null, ip: address },
    })
    assert.deepEqual(released.releaseIpAddress, { clientMutationId: null })
  }
  const shared = await ask(ALLOC_SHARED, { input: { ...input, type: 'shared_v4' } })
  assert.equal(shared.allocateIpAddress.app.sharedIpAddress, '203.0.113.1')
  const after = (await ask(IPS, app)).app
  assert.deepEqual([after.sharedIpAddress, after.ipAddresses.nodes], ['203.0.113.1', []])
})

test('RELEASE_IP by id, and errors that name the address', async () => {
  const { control, actor } = t.machines
  const { address } = await allocateAddress(control, actor, { app: 'web', kind: 'v6' })
  await ask(RELEASE_IP, { input: { appId: 'web', ipAddressId: address.id } })
  const bad = await refused(RELEASE_IP, { input: { appId: 'web', ip: '1.2.3' } })
  assert.equal(bad.message, "Invalid IP address: '1.2.3'")
  const foreign = await refused(RELEASE_IP, { input: { appId: 'foreign', ip: '203.0.113.1' } })
  assert.equal(foreign.message, 'Could not find App')
})

test('detachIpAddress and attachIpAddress say who has the address and which edges have not switched', async () => {
  const allocated = await ask(ALLOC_IP, { input: { appId: 'bare', type: 'v4', region: '' } })
  const ip = allocated.allocateIpAddress.ipAddress.address
  const fields = 'app{name}ipAddress{address pricePerMonth currency}from edgesWaiting'
  // No edge of this fleet ever reports a revision, so the wait is cut short.
  Object.assign(t.machines.control.config, { attachWaitMs: 5 })
  const { detachIpAddress } = await ask(
    `mutation($input: DetachIPAddressInput!){detachIpAddress(input: $input){${fields}}}`,
    { input: { appId: 'bare' } },
  )
  assert.deepEqual(detachIpAddress.ipAddress, {
    address: ip,
    pricePerMonth: '2.00',
    currency: 'USD',
  })
  assert.deepEqual(detachIpAddress.edgesWaiting, ['iad1', 'iad2', 'lhr1', 'nrt1'])
  const parked = await ask(
    'query{organization(slug: "personal"){parkedIpAddresses{nodes{address}}}}',
  )
  assert.deepEqual(parked.organization.parkedIpAddresses.nodes, [{ address: ip }])
  const { attachIpAddress } = await ask(
    `mutation($input: AttachIPAddressInput!){attachIpAddress(input: $input){${fields}}}`,
    { input: { appId: 'web', ip } },
  )
  assert.deepEqual([attachIpAddress.app.name, attachIpAddress.from], ['web', null])
})

test('EGRESS_APP and EGRESS_MACHINES are empty lists', async () => {
  const nodes = 'nodes{id ip version region updatedAt}'
  const ofApp = await ask(
    `query($appName: String!){app(name: $appName){egressIpAddresses{${nodes}}}}`,
    app,
  )
  assert.deepEqual(ofApp.app.egressIpAddresses.nodes, [])
  const ofMachines = await ask(
    `query($appName: String!){app(name: $appName){machines{nodes{id egressIpAddresses{${nodes}}}}}}`,
    app,
  )
  assert.deepEqual(ofMachines.app.machines.nodes[0].egressIpAddresses.nodes, [])
})

test('named operations', async () => {
  const config = await ask(
    'query FlyctlConfigCurrentRelease ($appName: String!) { app(name: $appName) { currentReleaseUnprocessed { configDefinition } } }',
    app,
    { operationName: 'FlyctlConfigCurrentRelease' },
  )
  assert.deepEqual(config.app.currentReleaseUnprocessed.configDefinition, DEFINITION)
  const image = await ask(
    'query LatestImage ($appName: String!) { app(name: $appName) { currentReleaseUnprocessed { id version imageRef } } }',
    app,
    { operationName: 'LatestImage' },
  )
  assert.equal(image.app.currentReleaseUnprocessed.imageRef, IMAGE)
  const addOns = await ask(
    'query ListOrganizationAddOns ($orgSlug: String!, $addOnType: AddOnType) { organization(slug: $orgSlug) { addOns(type: $addOnType) { nodes { id name addOnPlan { displayName description } privateIp primaryRegion readRegions options metadata } } } }',
    { orgSlug: 'personal', addOnType: 'tigris' },
    { operationName: 'ListOrganizationAddOns' },
  )
  assert.deepEqual(addOns.organization.addOns.nodes, [])
  const instances = await ask(
    'query AgentGetInstances ($appName: String!) { app(name: $appName) { organization { slug } id name allocations(showCompleted: false) { id region privateIP } machines { nodes { state id region ips { nodes { kind family ip } } } } } }',
    app,
    { operationName: 'AgentGetInstances' },
  )
  assert.deepEqual(instances.app.allocations, [])
  assert.equal(instances.app.machines.nodes[0].id, t.machineId)
})

test('an app that is missing or foreign: data null, the words that clients match, status 200', async () => {
  for (const appName of ['nobody', 'foreign', 'a/b', '']) {
    assert.deepEqual(await t.send({ query: IPS, variables: { appName } }), {
      data: null,
      errors: [{ message: 'Could not find App', path: ['app'], extensions: { code: 'NOT_FOUND' } }],
    })
  }
  const org = await refused('query{organization(slug: "others"){id}}')
  assert.equal(org.extensions.code, 'NOT_FOUND')
})

test('without a token nothing is answered', async () => {
  for (const authorization of ['', 'Bearer', 'Bearer fo1_wrong', `Bearer fo1_${'x'.repeat(43)}`]) {
    const { data, errors } = await t.send({ query: '{viewer{__typename}}' }, authorization)
    assert.equal(data, null)
    assert.equal(errors?.[0]?.extensions.code, 'UNAUTHORIZED')
  }
  const flyV1 = await t.send({ query: '{viewer{__typename}}' }, `FlyV1 fm2_a,${t.token}`)
  assert.equal(flyV1.data.viewer.__typename, 'User')
})

test('bad requests are answered in words: parse, validation, variables, body', async () => {
  assert.equal((await refused('query{')).extensions.code, 'GRAPHQL_PARSE_FAILED')
  assert.equal((await refused('{nothing}')).extensions.code, 'GRAPHQL_VALIDATION_FAILED')
  assert.equal((await refused(IPS, { appName: 7 })).extensions.code, 'BAD_USER_INPUT')
  const type = await refused(ALLOC_IP, { input: { appId: 'web', type: 'v5' } })
  assert.match(type.message, /v5/)
  for (const body of [[], [{ query: '{viewer{__typename}}' }], { query: 7 }, 'text']) {
    assert.equal((await t.send(body)).errors?.[0]?.extensions.code, 'BAD_REQUEST')
  }
})

test('queries that are too large are refused before they cost anything', async () => {
  const aliases = Array.from({ length: 31 }, (_, i) => `a${i}: platform{requestRegion}`).join(' ')
  assert.match((await refused(`{${aliases}}`)).message, /31 aliases; 30 is the limit/)
  const deep = `${'{a'.repeat(17)}${'}'.repeat(17)}`
  assert.match((await refused(deep)).message, /17 levels; 16 is the limit/)
  const bomb = Array.from(
    { length: 12 },
    (_, i) => `fragment f${i} on User{...f${i + 1} ...f${i + 1} id}`,
  )
  const spread = `{viewer{...f0}} ${bomb.join(' ')} fragment f12 on User{id}`
  assert.match((await refused(spread)).message, /fields; 1000 is the limit/)
  const circle = '{viewer{...f}} fragment f on User{...g} fragment g on User{...f}'
  assert.equal((await refused(circle)).extensions.code, 'GRAPHQL_VALIDATION_FAILED')
  assert.match((await refused(`{${'viewer '.repeat(4_100)}}`)).message, /token/i)
  const large = await t.server.inject({
    method: 'POST',
    url: '/graphql',
    headers: { authorization: `Bearer ${t.token}`, 'content-type': 'application/json' },
    payload: JSON.stringify({ query: `#${'x'.repeat(300_000)}` }),
  })
  assert.equal(large.statusCode, 413)
})

test('the schema can be read by tools', async () => {
  const { __schema } = await ask('{__schema{types{name fields{name type{name ofType{name}}}}}}')
  assert.ok(__schema.types.some((type: { name: string }) => type.name === 'IPAddressConnection'))
})
