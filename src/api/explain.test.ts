import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { Explanation } from '../model/explanation.ts'
import { EXPLAIN_GRANTS_PER_APP_MAX, type ExplainGrant } from '../model/resources.ts'
import type { AgentCall } from '../model/wire.ts'
import { type FakeAgent, type TestProcess, testProcess } from './testing.ts'

let t: TestProcess
let iad1: FakeAgent
let lhr1: FakeAgent
let addresses: { v6: string; v4: string }
const asked: [host: string, call: AgentCall][] = []

before(async () => {
  t = await testProcess()
  iad1 = await t.agent('iad1')
  lhr1 = await t.agent('lhr1')
  for (const name of ['hello', 'bare'])
    await t.api('POST', '/v1/apps', { name, org_slug: 'personal' })
  const allocate = async (type: string) =>
    (await t.api('POST', '/v1/apps/hello/ip_assignments', { type })).json.ip as string
  addresses = { v6: await allocate('v6'), v4: await allocate('v4') }
  for (const [host, agent] of [
    ['iad1', iad1],
    ['lhr1', lhr1],
  ] as const)
    agent.onCall = (call) => {
      asked.push([host, call])
      return [explanationOf(host)]
    }
})
after(() => t.close())

const explanationOf = (host: string, app = 'hello'): Explanation => ({
  edge: { host, region: host.slice(0, 3), revision: 7 },
  address: { ip: '203.0.113.20', port: 80, kind: 'dedicated' },
  listener: { handlers: ['http'] },
  route: { app, port: 80, forceHttps: false },
  ...{ outcome: 'wait', candidates: [], candidatesOmitted: 0, chosen: null, live: null },
})
const explain = (body: object) => t.api('POST', '/api/v1/route_explain', body)

test('an edge near to where the client is asked what it would do, with what the URL leads to', async () => {
  asked.length = 0
  const { status, json } = await explain({ url: 'http://hello.fairway.test/a?b', from: 'lhr' })
  assert.deepEqual([status, json.explanation], [200, explanationOf('lhr1')])
  const question = { address: addresses.v6, port: 80, host: 'hello.fairway.test' }
  assert.deepEqual(asked, [['lhr1', { method: 'route-explain', ...question }]])
  await explain({ url: `http://hello.fairway.test:8080/`, from: 'iad1', address: addresses.v4 })
  const other = { address: addresses.v4, port: 8080, host: 'hello.fairway.test:8080' }
  assert.deepEqual(asked[1], ['iad1', { method: 'route-explain', ...other }])
  await explain({ url: `https://[${addresses.v6}]/` })
  assert.deepEqual((asked[2]![1] as { port: number; address: string }).port, 443)
})

test('an edge that cannot answer is passed over', async () => {
  const { onCall } = lhr1
  lhr1.onCall = () => [{ error: { code: 'edge_unreachable', message: 'it is away' } }]
  const { json } = await explain({ url: 'http://hello.fairway.test/', from: 'lhr' })
  assert.equal(json.explanation.edge.host, 'iad1')
  const { status, json: failed } = await explain({
    url: 'http://hello.fairway.test/',
    from: 'lhr1',
  })
  assert.deepEqual([status, failed.status], [412, 'edge_unreachable'])
  lhr1.onCall = onCall
})

test('nothing is told of an app that the address has just gone to', async () => {
  const { onCall } = iad1
  iad1.onCall = () => [explanationOf('iad1', 'others')]
  const { status, text } = await explain({ url: 'http://hello.fairway.test/', from: 'iad1' })
  assert.equal(status, 409)
  assert.ok(!text.includes('others'))
  iad1.onCall = onCall
})

for (const [what, body, status, error] of [
  ['no URL', { url: 'hello' }, 422, /url: "hello" is not http:/],
  ['another scheme', { url: 'ftp://hello.fairway.test/' }, 422, /is not http:/],
  [
    'a name of nobody',
    { url: 'http://example.com/' },
    422,
    /names no app; names of apps are <app>/,
  ],
  [
    'an unknown app',
    { url: 'http://nope.fairway.test/' },
    404,
    /url: there is no app "nope"; see fairway apps list/,
  ],
  ['an app without addresses', { url: 'http://bare.fairway.test/' }, 422, /ips allocate-v6/],
  ['an address of nobody', { url: 'http://192.0.2.1/' }, 422, /not an address of one of your apps/],
  ['the shared address', { url: 'http://203.0.113.1/' }, 422, /not an address|shared by many/],
  [
    'an address of another',
    { url: 'http://hello.fairway.test/', address: '192.0.2.1' },
    422,
    /it has .*:/,
  ],
  [
    'a place that is none',
    { url: 'http://hello.fairway.test/', from: 'mars' },
    422,
    /iad, lhr, nrt/,
  ],
  ['an empty body', {}, 400, /url/],
] as const)
  test(`refused: ${what}`, async () => {
    const answer = await explain(body)
    assert.equal(answer.status, status, answer.text)
    assert.match(answer.json.error, error)
  })

test('a token is told once, its hash goes to every host, and there are so many of them', async () => {
  const { status, json } = await t.api('POST', '/api/v1/apps/hello/explain_tokens')
  assert.equal(status, 200)
  assert.match(json.token, /^fe1_[\w-]{43}$/)
  assert.ok(Date.parse(json.expires_at) > Date.now())
  const { store } = t.control.context
  const grants = async () => (await store.range('explain/hello/')).kvs
  const [kv] = await grants()
  const grant = JSON.parse(kv!.value) as ExplainGrant
  assert.equal(grant.hash, createHash('sha256').update(json.token).digest('hex'))
  assert.ok(!kv!.value.includes(json.token) && kv!.lease !== undefined)
  while (!iad1.keys.has(kv!.key)) await new Promise((resolve) => setTimeout(resolve, 1))
  for (let i = 1; i < EXPLAIN_GRANTS_PER_APP_MAX; i++)
    await t.api('POST', '/api/v1/apps/hello/explain_tokens')
  const refused = await t.api('POST', '/api/v1/apps/hello/explain_tokens')
  assert.equal(refused.status, 429)
  assert.match(refused.json.error, /each ends after 300 s/)
  assert.equal((await grants()).length, EXPLAIN_GRANTS_PER_APP_MAX)
  await store.leases.revoke(kv!.lease!)
  while (iad1.keys.has(kv!.key)) await new Promise((resolve) => setTimeout(resolve, 1))
  assert.equal((await t.api('POST', '/api/v1/apps/nope/explain_tokens')).status, 404)
})
