import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createOrg } from '../control/orgs.ts'
import { createToken } from '../control/tokens.ts'
import { keys } from '../model/keys.ts'
import {
  type FakeAgent,
  pause,
  type Route,
  routesOf,
  type TestProcess,
  testProcess,
} from './testing.ts'

/** What callers without rights get from each call of the API, by its own list of routes. */

let t: TestProcess
let iad1: FakeAgent
let digest: string
let machine: string
let address: string
let release: string
/** A token of an org that owns nothing. */
let foreign: { authorization: string }
let routes: Route[]

before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  await t.api('POST', '/v1/apps', { name: 'hello', org_slug: 'personal' })
  digest = await t.upload('hello')
  const config = { image: `sha256:${digest}`, env: { KEY: 'hidden-value' } }
  machine = (await t.api('POST', '/v1/apps/hello/machines', { config, region: 'iad' })).json.id
  await t.api('POST', '/v1/apps/hello/secrets', { values: { SECRET: 'hidden-value' } })
  address = (await t.api('POST', '/v1/apps/hello/ip_assignments', { type: 'v4' })).json.ip
  const made = await t.api('POST', '/api/v1/releases', {
    app_name: 'hello',
    image: `registry.fairway.test/hello@sha256:${digest}`,
  })
  release = made.json.release.id
  const { context } = t.control
  await createOrg(context, { slug: 'others', name: 'Others', type: 'SHARED' })
  const user = { id: 'user-2', email: 'eve@example.com', name: 'Eve' }
  const { token } = await createToken(context, { name: 'eve', user, orgs: ['others'] })
  foreign = { authorization: `Bearer ${token}` }
  routes = await routesOf(context)
  assert.ok(routes.length > 50, 'the routes were read')
})
after(() => t.close())

const PUBLIC = new Set(['/v1/health', '/openapi.json'])

interface Names {
  readonly app: string
  readonly machine: string
  readonly ip: string
  readonly release: string
  readonly org: string
}

const filled = (path: string, names: Names) =>
  path
    .replace(':app', names.app)
    .replace(':ip', names.ip)
    .replace(':digest', digest)
    .replace(':slug', names.org)
    .replace(':name', 'SECRET')
    .replace(':key', 'note')
    .replace(':hostname', 'www.example.com')
    .replace(':id', path.includes('/releases') ? names.release : names.machine)

/** A body that has what any of the calls wants. */
const bodyOf = (names: Names) => ({
  config: { image: `sha256:${digest}` },
  values: { SECRET: 'x' },
  value: 'x',
  type: 'v6',
  status: 'complete',
  signal: 'SIGTERM',
  app_name: names.app,
  hostname: 'www.example.com',
  fullchain: 'x',
  private_key: 'x',
  url: `http://${names.app}.fairway.test/`,
  image: `registry.fairway.test/${names.app}@sha256:${digest}`,
})

const call = (route: Route, names: Names, headers: object) => {
  const hasBody = !['GET', 'HEAD', 'DELETE'].includes(route.method)
  const body = route.path.endsWith('/artifacts') ? Buffer.from('x') : bodyOf(names)
  const type = body instanceof Buffer ? { 'content-type': 'application/gzip' } : {}
  const path = `${filled(route.path, names)}${route.path.endsWith('/wait') ? '?timeout=1' : ''}`
  return t.api(route.method, path, hasBody ? body : undefined, { ...type, ...headers })
}

const real = (): Names => ({ app: 'hello', machine, ip: address, release, org: 'personal' })
const made: Names = {
  app: 'nobody',
  machine: '0123456789abcd',
  ip: '203.0.113.29',
  release: '01jabcdefghjkmnpqrstvwxyz0',
  org: 'nobodies',
}

test('every call needs a token, but health and the description of the calls', async () => {
  for (const route of routes) {
    const { status, text } = await call(route, real(), { authorization: '' })
    const shown = `${route.method} ${route.path}: ${status} ${text}`
    if (PUBLIC.has(route.path)) assert.equal(status, 200)
    else if (route.path === '/graphql') assert.match(text, /"UNAUTHORIZED"/, shown)
    else assert.equal(status, 401, shown)
  }
})

test('what is another org’s is answered like what is not there, and stays as it was', async () => {
  const state = async () => {
    const { store } = t.control.context
    const pages = [
      'app/',
      'machine/',
      'secrets/',
      'address/',
      'release/',
      'artifact/',
      'explain/',
    ].map(async (prefix) => (await store.range(prefix, {})).kvs)
    return JSON.stringify(await Promise.all(pages))
  }
  const before = await state()
  for (const route of routes) {
    if (!/:|builds|releases$|graphql/.test(route.path)) continue
    const names = real()
    const asked = await call(route, names, foreign)
    const shown = `${route.method} ${route.path}: ${asked.status} ${asked.text}`
    assert.ok(asked.status >= 400 || route.path === '/graphql', shown)
    assert.doesNotMatch(asked.text, /hidden-value/, shown)
    const absent = await call(route, made, foreign)
    let text = asked.text
    for (const key of Object.keys(made) as (keyof Names)[])
      text = text.replaceAll(names[key], made[key])
    assert.deepEqual([asked.status, text], [absent.status, absent.text], shown)
  }
  assert.equal(await state(), before)
})

test('lists show what the caller’s orgs own, and nothing else', async () => {
  const get = async (path: string) => (await t.api('GET', path, undefined, foreign)).json
  assert.equal((await get('/v1/apps')).total_apps, 0)
  const { organizations } = await get('/api/v1/organizations')
  assert.deepEqual(
    organizations.map((org: { slug: string }) => org.slug),
    ['others'],
  )
  assert.deepEqual(await get('/api/v1/releases/all_current'), {})
})

describe('GraphQL, asked for another org’s', () => {
  const input = { appId: 'hello', type: 'v6', ip: '' }
  const mutation = (name: string, kind: string, payload: string) =>
    `mutation($input: ${kind}!){${name}(input: $input){${payload}}}`
  for (const [name, query, variables] of [
    ['an app', '{app(name: "hello"){id secrets: config{definition}}}', {}],
    ['an org', '{organization(slug: "personal"){id}}', {}],
    ['its apps', '{apps(organizationId: "personal"){nodes{id}}}', {}],
    ['a machine', 'query($id: String!){machine(machineId: $id){id config}}', {}],
    [
      'an allocation',
      mutation('allocateIpAddress', 'AllocateIPAddressInput', 'ipAddress{address}'),
      { input: { appId: 'hello', type: 'v6' } },
    ],
    [
      'a release',
      mutation('releaseIpAddress', 'ReleaseIPAddressInput', 'clientMutationId'),
      { input: { appId: input.appId, ip: 'ADDRESS' } },
    ],
    [
      'a detachment',
      mutation('detachIpAddress', 'DetachIPAddressInput', 'from'),
      { input: { appId: 'hello', ip: 'ADDRESS' } },
    ],
  ] as const)
    test(name, async () => {
      const text = JSON.stringify({ query, variables: { id: machine, ...variables } })
      const body = JSON.parse(text.replace('ADDRESS', address))
      const { json } = await t.api('POST', '/graphql', body, foreign)
      assert.ok(json.errors, JSON.stringify(json))
      assert.equal(json.errors[0].extensions.code, 'NOT_FOUND', JSON.stringify(json))
      assert.equal(
        Object.values(json.data ?? {}).find((value) => value !== null),
        undefined,
      )
    })

  test('an attachment to an app of one’s own', async () => {
    const own = await t.api('POST', '/v1/apps', { name: 'eves', org_slug: 'others' }, foreign)
    assert.equal(own.status, 201)
    const query = mutation('attachIpAddress', 'AttachIPAddressInput', 'from')
    const variables = { input: { appId: 'eves', ip: address } }
    const { json } = await t.api('POST', '/graphql', { query, variables }, foreign)
    assert.ok(json.errors, JSON.stringify(json))
    assert.doesNotMatch(JSON.stringify(json), /hello|personal/)
  })
})

describe('names that are none', () => {
  const odd = [
    '..',
    '%2e%2e',
    '..%2fhello',
    '%2f',
    'a%00b',
    '%F0%9F%98%80',
    'constructor',
    '__proto__',
  ]
  for (const name of odd)
    test(name, async () => {
      for (const path of [
        `/v1/apps/${name}`,
        `/v1/apps/hello/machines/${name}`,
        `/v1/apps/${name}/machines/${machine}`,
        `/v1/apps/hello/artifacts/${name}`,
        `/api/v1/organizations/${name}`,
      ]) {
        const { status, text } = await t.api('GET', path)
        assert.ok([404, 422].includes(status), `${path}: ${status} ${text}`)
      }
    })

  test('keys that would reach prototypes are refused or kept as data', async () => {
    const raw = async (path: string, body: string) =>
      t.api('POST', path, Buffer.from(body), { 'content-type': 'application/json' })
    const polluted = '{"__proto__":{"x":1},"name":"pp","org_slug":"personal"}'
    assert.equal((await raw('/v1/apps', polluted)).status, 400)
    const nested = '{"constructor":{"prototype":{"x":1}},"name":"pp","org_slug":"personal"}'
    assert.equal((await raw('/v1/apps', nested)).status, 400)
    const app = await t.api('POST', '/v1/apps', { name: 'constructor', org_slug: 'personal' })
    assert.equal(app.status, 201)
    assert.deepEqual((await t.api('GET', '/v1/apps/constructor/machines')).json, [])
    const values = { constructor: 'a', toString: 'b' }
    const set = await t.api('POST', '/v1/apps/constructor/secrets', { values })
    assert.equal(set.json.secrets.length, 2)
    const metadata = `/v1/apps/hello/machines/${machine}/metadata`
    assert.equal((await t.api('POST', `${metadata}/__proto__`, { value: 'x' })).status, 204)
    assert.equal(({} as Record<string, unknown>).x, undefined)
  })

  test('bodies that are too large or too deep', async () => {
    const send = (text: string) =>
      t.api('POST', '/v1/apps', Buffer.from(text), { 'content-type': 'application/json' })
    assert.equal((await send('x'.repeat(1024 * 1024 + 1))).status, 413)
    assert.equal((await send('['.repeat(200_000) + ']'.repeat(200_000))).status, 400)
    const query = `{${'a{'.repeat(1_900)}b${'}'.repeat(1_900)}}`
    const { json } = await t.api('POST', '/graphql', { query })
    assert.match(json.errors[0].extensions.code, /QUERY_TOO_LARGE|PARSE_FAILED/)
  })
})

test('an app’s name taken anew shows and gives nothing of the one before', async () => {
  const [config, region] = [{ image: `sha256:${digest}` }, 'iad']
  await t.api('POST', '/v1/apps', { name: 'twice', org_slug: 'personal' })
  await t.upload('twice')
  const old = (await t.api('POST', '/v1/apps/twice/machines', { config, region })).json.id
  assert.equal((await iad1.json('GET', `/agent/v1/launch/${old}`)).status, 200)
  // Its host is slow to take it away.
  iad1.onMachine = () => null
  assert.equal((await t.api('DELETE', '/v1/apps/twice')).status, 202)
  const create = () => t.api('POST', '/v1/apps', { name: 'twice', org_slug: 'others' }, foreign)
  while ((await create()).status !== 201) await pause(20)
  await t.api('POST', '/v1/apps/twice/secrets', { values: { MINE: 'new' } }, foreign)
  assert.ok(await t.control.context.store.get(keys.machine('iad1', old)), 'it is still there')
  assert.equal((await iad1.json('GET', `/agent/v1/launch/${old}`)).status, 404)
  const line = (timestamp: string, of: string, message: string) =>
    ({ timestamp, machine: of, region, level: 'info', source: 'app', message }) as const
  iad1.onCall = () => [
    line('2026-01-01T00:00:00.000Z', '', 'before'),
    line('2126-01-01T00:00:00.000Z', old, 'of the old machine'),
    line('2126-01-01T00:00:00.000Z', '', 'now'),
  ]
  const { text } = await t.api('GET', '/api/v1/apps/twice/logs', undefined, foreign)
  const messages = text
    .trim()
    .split('\n')
    .map((one) => JSON.parse(one).message)
  assert.deepEqual(messages, ['now'])
})
