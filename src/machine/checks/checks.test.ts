import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Server as TcpServer } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { after, test } from 'node:test'
import type { Check } from '../../model/machine-config.ts'
import { FakeClock, fakeMachine, quiet } from '../testing.ts'
import { type ProbePlan, planChecks } from './plan.ts'
import { type ProbeResult, probe } from './probe.ts'
import { CheckRunner } from './runner.ts'

const servers: (Server | TcpServer)[] = []
after(() => {
  for (const server of servers) server.close()
})
async function listen<T extends Server | TcpServer>(server: T): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

const planOf = (check: Check) =>
  planChecks(fakeMachine({}, { services: [{ internal_port: 80, checks: [check] }] }).config)[0]!

test('service checks: names, defaults, and durations within limits (S34)', () => {
  const plain = planOf({})
  assert.equal(plain.name, 'servicecheck-00-tcp-80')
  assert.deepEqual([plain.intervalMs, plain.timeoutMs, plain.graceMs], [15_000, 2_000, 1_000])
  const low = planOf({ interval: '10ms', timeout: '1ms', grace_period: '1ms' })
  assert.deepEqual([low.intervalMs, low.timeoutMs, low.graceMs], [1_000, 1_000, 1_000])
  const high = planOf({ interval: '1h', timeout: '2m', grace_period: '5m' })
  assert.deepEqual([high.intervalMs, high.timeoutMs, high.graceMs], [60_000, 60_000, 60_000])
  assert.equal(planOf({ grace_period: 0 }).graceMs, 0)
})

test('top-level checks decide about no service (S37)', () => {
  const checks = { alive: { type: 'http', port: 9, interval: '1s', timeout: '5m' }, broken: {} }
  const [plan, ...none] = planChecks(fakeMachine({}, { checks }).config)
  assert.deepEqual([plan?.name, plan?.service, none.length], ['alive', null, 0])
  assert.deepEqual([plan?.intervalMs, plan?.timeoutMs], [2_000, 60_000])
})

const httpPlan = (port: number, change: object = {}): ProbePlan => ({
  ...{ type: 'http', port, tls: null, method: 'GET', path: '/', headers: [] },
  ...change,
})
const ask = (plan: ProbePlan, timeoutMs = 2_000) =>
  probe(plan, '127.0.0.1', timeoutMs, new AbortController().signal)

test('http: 2xx passes, all else fails, redirects are not followed (S32)', async () => {
  let asked = 0
  const handler: RequestListener = (request, response) => {
    asked += 1
    response.writeHead(Number(request.url?.slice(1)), { location: '/200' })
    response.end('body')
  }
  const port = await listen(createServer(handler))
  for (const [status, passed] of [
    [200, true],
    [204, true],
    [301, false],
    [404, false],
    [500, false],
  ] as const)
    assert.equal((await ask(httpPlan(port, { path: `/${status}` }))).passed, passed, `${status}`)
  assert.equal(asked, 5)
  assert.equal((await ask(httpPlan(port, { path: '/200' }))).output, '200 OK: body')
})

test('http: method and headers as configured', async () => {
  const port = await listen(
    createServer((request, response) => {
      const { host, 'x-a': a, 'x-forwarded-proto': proto } = request.headers
      response.end(JSON.stringify([request.method, host, a, proto]))
    }),
  )
  const plan = planOf({
    ...{ type: 'http', method: 'post', path: 'ok', port },
    headers: [
      { name: 'Host', values: ['example.test'] },
      { name: 'x-a', values: ['1', '2'] },
      { name: 'X-Forwarded-Proto', values: ['https'] },
    ],
  })
  const { output } = await ask(plan.probe)
  assert.equal(output, '200 OK: ["POST","example.test","1, 2","https"]')
})

test('a server that never answers, one that refuses, one that never ends its body', async () => {
  const silent = await listen(createServer(() => {}))
  assert.deepEqual(await ask(httpPlan(silent), 30), {
    passed: false,
    output: 'no answer within 30 ms',
  })
  const endless = await listen(
    createServer((_request, response) => {
      response.write('x'.repeat(100_000))
    }),
  )
  assert.equal((await ask(httpPlan(endless))).passed, true)
  const closed = createTcpServer()
  const port = await listen(closed)
  await new Promise((resolve) => closed.close(resolve))
  for (const plan of [httpPlan(port), { type: 'tcp', port } as const])
    assert.match((await ask(plan)).output, /ECONNREFUSED/)
  assert.deepEqual(await ask({ type: 'tcp', port: silent }), { passed: true, output: 'Success' })
})

test('what answers is no HTTP', async () => {
  const port = await listen(createTcpServer((socket) => socket.end('hello\n')))
  assert.equal((await ask(httpPlan(port))).passed, false)
})

/** One machine with one check whose answers the test gives. */
function bench(checks: Check[]) {
  const clock = new FakeClock()
  const asked: number[] = []
  let answer: ProbeResult = { passed: false, output: 'down' }
  let changes = 0
  const runner = new CheckRunner({
    ...{ clock, random: () => 0.5 },
    probe: async () => {
      asked.push(clock.now())
      return answer
    },
    onChange: () => {
      changes += 1
    },
  })
  const machine = fakeMachine(
    {},
    { services: [{ internal_port: 80, checks }, { internal_port: 81 }] },
  )
  return {
    ...{ clock, runner, machine, asked },
    say: (passed: boolean) => {
      answer = { passed, output: passed ? 'up' : 'down' }
    },
    changes: () => changes,
    status: () => runner.statuses(machine.id)[0]?.status,
  }
}

test('unhealthy until the first pass, soon healthy again, then at its interval', async () => {
  const b = bench([{ type: 'tcp', interval: '10s', grace_period: '5s' }])
  assert.equal(b.runner.healthy(b.machine, 0), false, 'before it runs')
  assert.equal(b.runner.healthy(b.machine, 1), true, 'no checks')
  b.runner.start(b.machine)
  await b.clock.advance(4_000)
  assert.equal(b.status(), 'warning', 'grace')
  assert.ok(b.asked.length >= 4, 'asked soon and often')
  await b.clock.advance(10_000)
  assert.equal(b.status(), 'critical')
  b.say(true)
  await b.clock.advance(10_000)
  assert.equal(b.status(), 'passing')
  assert.equal(b.runner.healthy(b.machine, 0), true)
  const before = b.asked.length
  await b.clock.advance(30_000)
  assert.equal(b.asked.length, before + 3)
  b.say(false)
  await b.clock.advance(b.asked.at(-1)! + 10_000 - b.clock.now())
  assert.equal(b.runner.healthy(b.machine, 0), false, 'the first failure takes it out')
  b.say(true)
  await b.clock.advance(500)
  assert.equal(b.runner.healthy(b.machine, 0), true, 'a short fall costs little')
  b.runner.close()
})

test('all checks of a service must pass; a stop ends them', async () => {
  const b = bench([{ type: 'tcp' }, { type: 'http' }])
  b.say(true)
  b.runner.start(b.machine)
  await quiet()
  assert.equal(b.runner.healthy(b.machine, 0), true)
  b.runner.stop(b.machine.id)
  const { length } = b.asked
  await b.clock.advance(100_000)
  assert.equal(b.asked.length, length)
  assert.equal(b.runner.healthy(b.machine, 0), false)
  assert.deepEqual(
    b.runner.statuses(b.machine.id).map(({ status }) => status),
    ['warning', 'warning'],
  )
  assert.equal(b.changes(), 2, 'one for each check that passed')
})
