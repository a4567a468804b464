import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, describe, test } from 'node:test'
import { EXPLAIN_HEADER_BYTES_MAX, type Explanation } from '../../model/explanation.ts'
import type { EdgeProxyOptions } from '../edge-proxy.ts'
import { EXPLAIN_TOKENS_TRIED_PER_SECOND_MAX } from '../limits.ts'
import type { TestMachine, TestService } from '../testing.ts'
import { ADDRESS, Lab, ok, onRequests, SHARED, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
after(() => lab.close())

const TOKEN = 'fe1_token'
const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'iad2', region: 'iad', index: 2 },
  { id: 'lhr1', region: 'lhr', index: 3 },
]
const machine = (
  id: string,
  host: string,
  service: Partial<TestService> = {},
  rest: Partial<TestMachine> = {},
): TestMachine => ({
  ...{ id, host, region: host.slice(0, 3), ...rest },
  services: [{ port: 80, internalPort: 1, ...service }],
})

const edgeWith = (machines: readonly TestMachine[], options: Partial<EdgeProxyOptions> = {}) =>
  lab.edge([{ name: 'hello', addresses: [ADDRESS], sharedV4: SHARED, machines }], {
    hosts: HOSTS,
    ...options,
  })
const computed = (edge: TestEdge, question: { address?: string; port?: number; host?: string }) =>
  edge.proxy.explain({ address: ADDRESS, port: 80, host: 'hello.fairway.test', ...question })

/** The view learns of a token for the app. */
function grant(edge: TestEdge, { app = 'hello', org = 'personal', expiresAtMs = 2e15 } = {}): void {
  const hash = createHash('sha256').update(TOKEN).digest('hex')
  const value = { id: 'g1', app, org, hash, expiresAtMs }
  const events = [['put', `explain/${app}/g1`, value, 1e6] as const]
  edge.view.apply({ t: 'events', revision: 1e6, events })
}

describe('computed', () => {
  test('what becomes of a connection, by address, port and name', async () => {
    const edge = await edgeWith([
      machine('m1', 'iad1'),
      machine('m2', 'iad1', { port: 443, handlers: ['tls', 'http'] }),
      machine('m3', 'iad1', { port: 81, forceHttps: true }),
      machine('m4', 'iad1', { port: 5432, handlers: [] }),
    ])
    for (const [question, outcome] of [
      [{}, 'forward'],
      [{ host: 'anything' }, 'forward'],
      [{ port: 5432 }, 'forward'],
      [{ address: SHARED }, 'forward'],
      [{ address: SHARED, host: 'other.fairway.test' }, 'no-app'],
      [{ address: SHARED, host: 'ip.fairway.test' }, 'echo'],
      [{ address: SHARED, port: 81 }, 'no-port'],
      [{ address: '203.0.113.77' }, 'no-address'],
      [{ port: 8080 }, 'no-port'],
      [{ port: 443 }, 'no-certificate'],
      [{ port: 81 }, 'redirect-to-https'],
    ] as const) {
      const explanation = computed(edge, question)
      assert.equal(explanation.outcome, outcome, JSON.stringify(question))
      assert.equal(explanation.chosen !== null, outcome === 'forward')
    }
  })

  test('each candidate with its state, the chosen one first, and why', async () => {
    const edge = await edgeWith([
      machine('away', 'lhr1'),
      machine('cordoned', 'iad1', {}, { cordoned: true }),
      machine('stopped', 'iad1', {}, { state: 'stopped' }),
      machine('sick', 'iad1', { healthy: false }),
      machine('full', 'iad2', { hard: 1, load: 2 }),
      machine('busy', 'iad2', { load: 1 }),
      machine('here', 'iad1'),
      machine('there', 'iad2'),
    ])
    const { candidates, chosen } = computed(edge, {})
    assert.equal(chosen?.machine, 'here')
    assert.equal(
      chosen.why,
      "nearest region iad (in the edge's region); below its soft limit, unlike 1 there; on this edge's own host",
    )
    assert.deepEqual(
      candidates.slice(0, 4).map((c) => c.machine),
      ['here', 'there', 'busy', 'away'],
    )
    assert.deepEqual(Object.fromEntries(candidates.slice(4).map((c) => [c.machine, c.refused])), {
      cordoned: 'it is cordoned',
      stopped: 'it is stopped',
      sick: 'a check fails',
      full: 'it is at its hard limit',
    })
    assert.deepEqual([candidates[0]!.inFlight, candidates[1]!.inFlight], [0, null])
  })

  test('equal ones are said to be equal, and what is nearer to be unable', async () => {
    const edge = await edgeWith([
      machine('a', 'lhr1'),
      machine('b', 'lhr1'),
      machine('near', 'iad1', {}, { cordoned: true }),
    ])
    const { why } = computed(edge, {}).chosen!
    assert.match(why, /^nearest region lhr \(.* ms away\); below its soft limit/)
    assert.match(why, /one of 2 that are equal, at random/)
    assert.match(why, /nearer ones cannot take it: 1 because it is cordoned$/)
  })

  test('nobody can take it', async () => {
    const edge = await edgeWith([machine('m1', 'iad1', {}, { state: 'starting' })])
    const { outcome, candidates, chosen } = computed(edge, {})
    assert.deepEqual([outcome, chosen], ['wait', null])
    assert.equal(candidates[0]!.refused, 'it is starting')
  })

  test('asking claims nothing, and agrees with what is done', async () => {
    const internalPort = await lab.app((socket) => onRequests(socket, () => socket.write(ok(''))))
    const edge = await edgeWith([
      machine('busy', 'iad1', { internalPort, soft: 0 }),
      machine('idle', 'iad1', { internalPort, hard: 1 }),
    ])
    for (let i = 0; i < 3; i++) assert.equal(computed(edge, {}).chosen!.machine, 'idle')
    grant(edge)
    const { explanation } = await live(edge)
    assert.equal(explanation!.chosen!.machine, 'idle')
    assert.match(explanation!.chosen!.why, /below its soft limit, unlike 1 there/)
  })
})

async function live(
  edge: TestEdge,
  { token = TOKEN, method = 'GET', fields = '' } = {},
): Promise<{ text: string; explanation: Explanation | null }> {
  const start = `${method} / HTTP/1.1\r\nHost: hello.fairway.test\r\n`
  const head = `${start}${fields}Content-Length: 0\r\n`
  const client = lab.client(edge.port)
  const text = await client
    .send(`${head}fairway-Explain: ${token}\r\nConnection: close\r\n\r\n`)
    .end()
  const field = /\r\nFairway-Explain: (.*)\r\n/.exec(text)?.[1]
  return { text, explanation: field === undefined ? null : (JSON.parse(field) as Explanation) }
}

describe('a request that is made', () => {
  /** Its app answers with the head that it got, and with an explanation of its own. */
  async function setUp(more: readonly TestMachine[] = [], options = {}) {
    const internalPort = await lab.app((socket) =>
      onRequests(socket, (head) =>
        socket.write(
          `HTTP/1.1 200 OK\r\nFairway-Explain: "the app's"\r\nContent-Length: ${head.length}\r\n\r\n${head}`,
        ),
      ),
    )
    return edgeWith([...more, machine('m1', 'iad1', { internalPort })], options)
  }

  test('is explained to whoever shows a token of the app, which the app never sees', async () => {
    const edge = await setUp()
    grant(edge)
    const { text, explanation } = await live(edge)
    assert.match(text, /^HTTP\/1.1 200 OK\r\n/)
    assert.ok(!text.includes(TOKEN) && !text.includes("the app's"))
    const { outcome, chosen, live: done } = explanation!
    assert.deepEqual([outcome, chosen?.machine, done?.status], ['forward', 'm1', 200])
    assert.ok(text.includes(`Fly-Request-Id: ${done!.requestId}`))
    const [attempt] = done!.attempts
    assert.deepEqual(
      [done!.attemptCount, attempt!.machine, attempt!.isRemote, attempt!.code, attempt!.status],
      [1, 'm1', false, '', 200],
    )
    assert.ok(attempt!.sentMs <= attempt!.acceptedMs! && attempt!.acceptedMs! <= attempt!.endedMs!)
    assert.ok(attempt!.endedMs! <= done!.ms)
  })

  test('with what it asks for in its headers', async () => {
    const edge = await setUp([machine('near', 'iad1'), machine('far', 'lhr1')])
    grant(edge)
    const preferred = await live(edge, { fields: 'Fly-Prefer-Instance-Id: m1\r\n' })
    assert.equal(preferred.explanation!.candidates[0]!.machine, 'm1')
    assert.match(preferred.explanation!.chosen!.why, /^nearest to what the request asks for; /)
    const forced = await live(edge, {
      fields: 'Fly-Force-Region: iad\r\nFly-Prefer-Instance-Id: m1\r\n',
    })
    const far = forced.explanation!.candidates.find(({ machine: id }) => id === 'far')
    assert.equal(far!.refused, 'the request asks for others only')
  })

  test('with each attempt that failed', async () => {
    const edge = await setUp([machine('dead', 'iad1', { soft: 100, port: 80 })], {
      random: () => 0.9,
    })
    grant(edge)
    const { explanation } = await live(edge, { method: 'POST' })
    const { attempts, attemptCount } = explanation!.live!
    assert.deepEqual(
      [attemptCount, attempts.map(({ machine: id, code }) => `${id} ${code}`)],
      [2, ['dead PC01', 'm1 ']],
    )
    assert.match(attempts[0]!.reason, /ECONNREFUSED/)
  })

  test('also when the edge answers', async () => {
    const edge = await edgeWith([machine('dead', 'iad1')])
    grant(edge)
    const { text, explanation } = await live(edge, { method: 'POST' })
    assert.match(text, /^HTTP\/1.1 502 /)
    assert.equal(explanation!.outcome, 'failed')
    assert.deepEqual([explanation!.live!.status, explanation!.live!.code], [502, 'PC01'])
    const redirecting = await edgeWith([machine('m1', 'iad1', { forceHttps: true })])
    grant(redirecting)
    const redirected = await live(redirecting)
    assert.match(redirected.text, /^HTTP\/1.1 301 /)
    assert.equal(redirected.explanation!.outcome, 'redirect-to-https')
  })

  test('not with a wrong token, of another app or org, or one whose time is over', async () => {
    for (const [what, given, token] of [
      ['no token at all', null, TOKEN],
      ['wrong', {}, 'fe1_wrong'],
      ['empty', {}, ''],
      ['long', {}, 'x'.repeat(4_000)],
      ['other app', { app: 'other' }, TOKEN],
      ['other org', { org: 'other' }, TOKEN],
      ['over', { expiresAtMs: 1 }, TOKEN],
    ] as const) {
      const edge = await setUp()
      if (given) grant(edge, given)
      const { text, explanation } = await live(edge, { token })
      assert.equal(explanation, null, what)
      assert.match(text, /^HTTP\/1.1 200 OK\r\n/)
      assert.ok(!/fairway-explain: (fe1|x)/i.test(text), what)
    }
  })

  test('a header by another spelling that an app may take for it is kept from it too', async () => {
    const edge = await setUp()
    const client = lab.client(edge.port)
    const text = await client
      .send('GET / HTTP/1.1\r\nHost: a\r\nFairway_Explain: x1y\r\nConnection: close\r\n\r\n')
      .end()
    assert.ok(!text.includes('x1y'))
  })

  test('strangers’ guesses are looked at so often a second, and counted', async () => {
    const edge = await setUp([], { now: () => 1_000 })
    grant(edge)
    for (let i = 0; i < EXPLAIN_TOKENS_TRIED_PER_SECOND_MAX; i++)
      assert.equal((await live(edge, { token: 'wrong' })).explanation, null)
    assert.equal((await live(edge)).explanation, null)
    assert.equal(edge.limit('explain_tokens'), 1)
  })

  test('fits into its header, however many candidates there are', async () => {
    const many = Array.from({ length: 300 }, (_, i) =>
      machine(`other${i}`, 'iad1', {}, { cordoned: true }),
    )
    const edge = await setUp(many)
    grant(edge)
    const { text, explanation } = await live(edge)
    const { candidates, candidatesOmitted, chosen } = explanation!
    assert.deepEqual([chosen!.machine, candidates[0]!.machine], ['m1', 'm1'])
    assert.equal(candidates.length + candidatesOmitted, 301)
    const field = /\r\nFairway-Explain: (.*)\r\n/.exec(text)![1]!
    assert.ok(field.length <= EXPLAIN_HEADER_BYTES_MAX)
  })
})

test('a request that a limit of the service turns away is explained, and took no time', async () => {
  const perService = { perSecond: 0.001, burst: 1 }
  const options = {
    rateLimit: { perSource: null, perService },
    ...{ slowStartMs: null, sticky: null, accessLog: null },
  }
  const internalPort = await lab.app((socket) => onRequests(socket, () => socket.write(ok(''))))
  const edge = await edgeWith([machine('a', 'iad1', { internalPort, options })])
  grant(edge)
  await live(edge)
  const { text, explanation } = await live(edge)
  assert.match(text, /^HTTP\/1.1 429 /)
  assert.deepEqual([explanation!.outcome, explanation!.live!.status], ['refused', 429])
  const { labels, values } = edge.proxy.series()
  const at = labels.indexOf('edge-status hello  429') * 16
  assert.deepEqual([...values.slice(at, at + 2), values[at + 15]], [1, 0, 0])
})
