import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Explanation } from '../src/model/explanation.ts'
import { api } from './support/api.ts'
import { eventually, ROOT, type TestWorld, upWorld } from './support/world.ts'

const URL = 'http://balance.fairway.test/'

interface Answer {
  readonly explanation: Explanation
  readonly client: { readonly status: number; readonly connectMs: number } | null
}

/** Two machines in iad and one in lhr; the edges write an access log and nothing else. */
describe('observing', () => {
  let world: TestWorld
  const machines: Record<string, string[]> = {}
  const scratch = mkdtempSync(join(tmpdir(), 'fairway-explain-'))

  before(async () => {
    const file = join(scratch, 'world.json')
    writeFileSync(file, JSON.stringify({ observe: { accessLog: { sampleRate: 1 } } }))
    world = await upWorld({ upArgs: ['--world', file] })
    const config = join(ROOT, 'test/support/balance-app/fly.toml')
    await world.fairway(['deploy', '-c', config, '--yes'])
    await world.fairway(['scale', 'count', '3', '--region', 'iad,lhr', '-a', 'balance', '--yes'])
    for (const { id, region } of await api<{ id: string; region: string }[]>(
      world,
      'GET',
      '/v1/apps/balance/machines',
    ))
      machines[region] = [...(machines[region] ?? []), id]
    await eventually('an edge in lhr knows three machines', 10_000, async () => {
      const { explanation } = await explain('--from', 'client-lhr')
      return explanation.candidates.filter(({ refused }) => refused === null).length === 3
    })
  })
  after(async () => {
    await world?.close()
    rmSync(scratch, { recursive: true, force: true })
  })

  const explain = async (...flags: readonly string[]): Promise<Answer> =>
    JSON.parse((await world.fairway(['route', 'explain', URL, ...flags, '--json'])).stdout)
  const metrics = async (host: string, name = 'edge-metrics.sock') => {
    const socket = `/run/fairway/${host}/${name}`
    const curl = ['curl', '-sf', '--unix-socket', socket, 'http://edge/metrics']
    return (await world.exec(host, curl)).stdout
  }

  test('an edge tells where a request would go, and why', async () => {
    const near = await explain('--from', 'client-lhr')
    const { edge, address, listener, route, outcome, chosen } = near.explanation
    assert.deepEqual([edge.region, outcome], ['lhr', 'forward'])
    assert.equal(address.kind, 'dedicated')
    assert.deepEqual([listener?.handlers, route?.app], [['http'], 'balance'])
    assert.deepEqual([chosen?.machine, chosen?.region], [machines.lhr![0], 'lhr'])
    assert.match(chosen!.why, /^nearest region lhr \(in the edge's region\); below its soft limit/)
    const far = await explain('--from', 'nrt')
    assert.equal(far.explanation.edge.region, 'nrt')
    assert.match(far.explanation.chosen!.why, /^nearest region iad \(160 ms away\)/)
  })

  test('for people: one page', async () => {
    const { stdout } = await world.fairway(['route', 'explain', URL, '--from', 'client-lhr'])
    assert.match(stdout, /Edge +\S+ in lhr, revision \d+/)
    assert.match(stdout, /Route +app balance, port 80/)
    assert.match(stdout, new RegExp(`Goes to +machine ${machines.lhr![0]} in lhr`))
    assert.match(stdout, new RegExp(`${machines.lhr![0]}.* yes {2}<- chosen`))
  })

  test('a machine that cannot take it is named with the reason', async () => {
    const [machine] = machines.lhr!
    await world.fairway(['machine', 'cordon', machine!, '-a', 'balance'])
    const { explanation } = await explain('--from', 'client-lhr')
    const { candidates, chosen } = explanation
    const cordoned = candidates.find((candidate) => candidate.machine === machine)
    assert.equal(cordoned?.refused, 'it is cordoned')
    assert.equal(chosen?.region, 'iad')
    assert.match(chosen!.why, /nearer ones cannot take it: 1 because it is cordoned/)
    await world.fairway(['machine', 'uncordon', machine!, '-a', 'balance'])
  })

  test('a real request is explained by the edge that served it', async () => {
    const { explanation, client } = await explain('--from', 'client-nrt', '--live')
    assert.equal(client?.status, 200)
    const { edge, chosen, live } = explanation
    assert.deepEqual([edge.region, chosen?.region, live?.status], ['nrt', 'iad', 200])
    const [attempt] = live!.attempts
    assert.equal(attempt!.machine, chosen!.machine)
    assert.ok(attempt!.isRemote && attempt!.code === '')
    assert.ok(attempt!.sentMs <= attempt!.acceptedMs! && attempt!.acceptedMs! <= live!.ms)
    const { stdout } = await world.fairway([
      'route',
      'explain',
      URL,
      '--from',
      'client-nrt',
      '--live',
    ])
    assert.match(stdout, /1 +\w+ +the edge of \S+ .* answered 200/)
    assert.match(stdout, /Client: .*answered 200 after [\d.]+ ms/)
  })

  test('an attempt that failed is shown with its code, and the one after it', async () => {
    const closed = `${URL.slice(0, -1)}:8001/`
    const ran = await world.fairway(
      ['route', 'explain', closed, '--from', 'client-lhr', '--live', '--json'],
      { check: false },
    )
    const { explanation } = JSON.parse(ran.stdout) as Answer
    assert.equal(explanation.outcome, 'failed')
    assert.equal(explanation.live?.status, 502)
    assert.ok(explanation.live.attemptCount > 1)
    for (const { code } of explanation.live.attempts) assert.equal(code, 'PC01')
  })

  test('who has no token, or a wrong one, hears nothing, and neither does the app', async () => {
    const header = (token: string) => ['-H', `Fairway-Explain: ${token}`]
    await world.fairway(['route', 'explain', URL, '--from', 'client-lhr', '--live'])
    for (const token of ['', 'wrong', `fe1_${'A'.repeat(43)}`]) {
      const curl = ['curl', '-si', '-m', '30', ...header(token), URL]
      const { stdout } = await world.exec('client-lhr', curl)
      assert.match(stdout, /^HTTP\/1.1 200/)
      assert.doesNotMatch(stdout, /fairway-explain/i)
    }
  })

  test('an app of somebody else is not explained', async () => {
    const refused = await world.fairway(['route', 'explain', 'http://nobody.fairway.test/'], {
      check: false,
    })
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, /url: there is no app "nobody"; see fairway apps list/)
  })

  test('series of the app: at the edge that accepted, and at the machine’s own host', async () => {
    await world.exec('client-nrt', ['curl', '-sf', '-m', '30', URL])
    const edge = await metrics('host-nrt1')
    assert.match(
      edge,
      /^fly_edge_http_responses_count\{app="balance",region="nrt",host="\w+",status="200"\} [1-9]/m,
    )
    assert.doesNotMatch(edge, /^fly_app_http_responses_count/m)
    const instances = await Promise.all(['host-iad1', 'host-iad2'].map((host) => metrics(host)))
    assert.match(
      instances.join(''),
      /^fly_app_http_response_time_seconds_count\{app="balance",region="iad",host="\w+",instance="\w+",status="200"\} [1-9]/m,
    )
    assert.match(instances.join(''), /^fly_app_concurrency\{app="balance",.*\} 0$/m)
    const agents = await Promise.all(
      ['host-iad1', 'host-iad2'].map((host) => metrics(host, 'egress.sock')),
    )
    assert.match(agents.join(''), /^fly_instance_up\{app="balance",.*\} 1$/m)
    assert.match(agents.join(''), /^fly_instance_net_recv_packets\{app="balance",.*\} [1-9]/m)
  })

  test('every request has a line in the access log of its edge', async () => {
    const path = '/?secret=1'
    const { stdout } = await world.exec('client-nrt', [
      ...['curl', '-si', '-m', '30', `${URL.slice(0, -1)}${path}`],
    ])
    const id = /fly-request-id: (\S+)/i.exec(stdout)![1]!
    const line = await eventually('the line', 10_000, async () =>
      readFileSync(join(world.stateDir, 'log', 'host-nrt1', 'access.log'), 'utf8')
        .split('\n')
        .find((text) => text.includes(id)),
    )
    const { app, path: logged, status, region } = JSON.parse(line)
    assert.deepEqual([app, logged, status, region], ['balance', '/', 200, 'nrt'])
  })

  test('the app’s log has what the edge could not do', async () => {
    await world.exec('client-lhr', ['curl', '-s', '-m', '30', `${URL.slice(0, -1)}:8001/`])
    await eventually('the line', 10_000, async () => {
      const { stdout } = await world.fairway(['logs', '-a', 'balance', '--no-tail'])
      return /proxy\[\w+\] \w+ \[error\] .*\[PC01\]|proxy.*PC01/.test(stdout)
    })
  })
})
