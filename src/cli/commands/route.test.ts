import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import { after, before, test } from 'node:test'
import type { ExplainedCandidate, Explanation } from '../../model/explanation.ts'
import { Reply } from '../testing.ts'
import { type CommandOptions, ok, run } from '../testing-commands.ts'

const CANDIDATE: ExplainedCandidate = {
  ...{ machine: 'm1', host: 'lhr1', region: 'lhr', state: 'started', distanceMs: 0 },
  ...{ load: 0, inFlight: 2, refused: null, isLastResort: false, isEjected: false },
}
const EXPLANATION: Explanation = {
  edge: { host: 'lhr1', region: 'lhr', revision: 12 },
  address: { ip: '203.0.113.1', port: 80, kind: 'shared' },
  listener: { handlers: ['http'] },
  route: { app: 'hello', port: 80, forceHttps: false },
  outcome: 'forward',
  candidates: [
    CANDIDATE,
    { ...CANDIDATE, machine: 'm2', inFlight: null, load: 2, refused: 'it is at its hard limit' },
  ],
  candidatesOmitted: 3,
  chosen: { machine: 'm1', host: 'lhr1', region: 'lhr', why: 'nearest region lhr' },
  live: null,
}
const LIVE: Explanation = {
  ...EXPLANATION,
  live: {
    ...{ requestId: 'R1-lhr', attemptCount: 2, ms: 7.25, status: 200, code: '' },
    waits: [{ reason: 'hard-limit', ms: 3 }],
    attempts: [
      {
        ...{ machine: 'm2', host: 'iad1', isRemote: true, sentMs: 0.1, acceptedMs: null },
        ...{ endedMs: 2, status: 0, code: 'PC01', reason: 'nothing listens' },
      },
      {
        ...{ machine: 'm1', host: 'lhr1', isRemote: false, sentMs: 2.1, acceptedMs: 2.2 },
        ...{ endedMs: 7.25, status: 200, code: '', reason: '' },
      },
    ],
  },
}

let seen: http.IncomingMessage[] = []
let explains = true
const edge = http.createServer((request, response) => {
  seen.push(request)
  if (explains) response.setHeader('fairway-explain', JSON.stringify(LIVE))
  response.end('hello')
})
let url = ''
before(async () => {
  edge.listen(0, '127.0.0.1')
  await once(edge, 'listening')
  url = `http://127.0.0.1:${(edge.address() as net.AddressInfo).port}/a?b`
})
after(() => edge.close())

const answers = (explanation: Explanation): CommandOptions => ({
  api: (api) => {
    api.on('POST /api/v1/route_explain', () => ({ explanation }))
    api.on('POST /api/v1/apps/hello/explain_tokens', () => ({
      ...{ token: 'fe1_s3cret', expires_at: '', hosts_waiting: [] },
    }))
  },
})

test('route explain asks an edge near to the client', async () => {
  const line = 'route explain http://hello.fairway.test/ --from client-lhr'
  const { stdout, api } = await ok(line, answers(EXPLANATION))
  assert.deepEqual(api.requests.at(-1)?.body, { url: 'http://hello.fairway.test/', from: 'lhr' })
  for (const pattern of [
    /^http:\/\/hello\.fairway\.test\/\n/,
    / Edge +lhr1 in lhr, revision 12\n/,
    / Address +203\.0\.113\.1 port 80, shared: the Host header names the app\n/,
    / Goes to +machine m1 in lhr on host lhr1\n/,
    / Because +nearest region lhr\n/,
    /\nm1 .*below soft limit \(2 in flight\) +yes {2}<- chosen\n/,
    /\nm2 .*at hard limit +no: it is at its hard limit\n/,
    /\nand 3 more\n/,
  ])
    assert.match(stdout, pattern)
  const asJson = await ok(`${line} --json`, answers(EXPLANATION))
  assert.deepEqual(JSON.parse(asJson.stdout), { explanation: EXPLANATION, client: null })
})

test('what goes nowhere says why', async () => {
  for (const [outcome, text] of [
    ['no-app', /Goes to +nowhere: no app of this name/],
    ['redirect-to-https', /Goes to +nowhere: .*force_https.* 301/],
    ['wait', /Goes to +nowhere now: .* 503/],
  ] as const) {
    const explanation = { ...EXPLANATION, outcome, chosen: null, candidates: [] }
    const { stdout } = await ok('route explain http://hello.fairway.test/', answers(explanation))
    assert.match(stdout, text)
  }
})

test('--live makes the request with a token of its own, and shows each attempt', async () => {
  seen = []
  const { stdout, stderr } = await ok(`route explain ${url} --live`, answers(EXPLANATION))
  assert.equal(seen.length, 1)
  assert.equal(seen[0]!.headers['fairway-explain'], 'fe1_s3cret')
  assert.deepEqual([seen[0]!.method, seen[0]!.url], ['GET', '/a?b'])
  assert.ok(!(stdout + stderr).includes('s3cret'))
  for (const pattern of [
    / Went to +machine m1/,
    / Answer +200, 7\.3 ms after the request's head\n/,
    / Waited +3\.0 ms because of hard-limit\n/,
    /\n1 +m2 +the edge of iad1 +0\.1 ms +- +2\.0 ms +PC01: nothing listens\n/,
    /\n2 +m1 +directly +2\.1 ms +2\.2 ms +7\.3 ms +answered 200\n/,
    /\nClient: connected to 127\.0\.0\.1 after [\d.]+ ms, answered 200 after [\d.]+ ms\.\n/,
  ])
    assert.match(stdout, pattern)
  const asJson = JSON.parse((await ok(`route explain ${url} --live --json`, answers(LIVE))).stdout)
  assert.deepEqual(asJson.explanation, LIVE)
  assert.equal(asJson.client.status, 200)
})

test('a request that no edge explained is an error that says what it looked like', async () => {
  explains = false
  const { code, stdout, stderr } = await run(`route explain ${url} --live`, answers(EXPLANATION))
  explains = true
  assert.equal(code, 1)
  assert.match(stdout, /^Client: connected .* answered 200/)
  assert.match(stderr, /No edge has explained the request \(it was answered 200\)/)
  const nobody = 'http://127.0.0.1:1/'
  const refused = await run(`route explain ${nobody} --live`, answers(EXPLANATION))
  assert.match(refused.stdout, /^Client: no connection \(.*ECONNREFUSED/)
})

test('what cannot be asked is refused by name', async () => {
  for (const [line, text] of [
    ['route explain https://hello.fairway.test/ --live', /plain HTTP/],
    [`route explain ${url} --live --timeout x`, /--timeout "x"/],
  ] as const) {
    const { code, stderr } = await run(line, answers(EXPLANATION))
    assert.equal(code, 1)
    assert.match(stderr, text)
  }
  const { stderr } = await run('route explain http://nope.fairway.test/', {
    api: (api) =>
      api.on('POST /api/v1/route_explain', () => new Reply(404, { error: 'Could not find App' })),
  })
  assert.match(stderr, /Could not find App/)
})
