import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { startLoad } from './support/loading.ts'
import { eventually, type TestWorld, upWorld } from './support/world.ts'

const FOLDER = 'test/deploy-checks/fly.toml'
const URL = 'http://checked.fairway.test/'

interface Listed {
  readonly id: string
  readonly private_ip: string
  readonly config: { readonly env: { readonly VERSION: string } }
}

/** Machine checks (S38) and canaries with machines, firewalls and requests as they are. */
describe('machine checks and canaries', () => {
  let world: TestWorld
  before(async () => {
    world = await upWorld()
    await deploy('1', '1', [], '--strategy', 'rolling')
    // So many that some share a host: that they cannot be reached is then the firewall's doing.
    await world.fairway(['scale', 'count', '4', '--region', 'iad', '-a', 'checked', '--yes'])
  })
  after(() => world?.close())

  const deploy = (
    version: string,
    expected: string,
    others: readonly string[],
    ...args: string[]
  ) =>
    world.fairway(
      [
        ...['deploy', '-c', FOLDER, '--wait-timeout', '60s', ...args],
        ...[
          '-e',
          `VERSION=${version}`,
          '-e',
          `EXPECT=${expected}`,
          '-e',
          `OTHERS=${others.join()}`,
        ],
      ],
      { check: false },
    )
  const machines = async () =>
    JSON.parse(
      (await world.fairway(['machine', 'list', '-a', 'checked', '--json'])).stdout,
    ) as Listed[]
  /** Ids and versions of the app's machines. */
  const shape = async () =>
    (await machines()).map(({ id, config }) => `${id} ${config.env.VERSION}`).sort()
  /** What hosts of the region let machines reach beside the internet. */
  const openings = async () => {
    const list = ['nft', '-j', 'list', 'set', 'inet', 'fairway', 'tests6']
    const sets = await Promise.all(['host-iad1', 'host-iad2'].map((host) => world.exec(host, list)))
    return sets.flatMap(({ stdout }) => {
      const { nftables } = JSON.parse(stdout) as { nftables: { set?: { elem?: unknown[] } }[] }
      return nftables.flatMap(({ set }) => set?.elem ?? [])
    })
  }

  test('a check reaches the machine under test, and no other one of the app', async () => {
    const others = (await machines()).map((machine) => machine.private_ip)
    assert.equal(others.length, 4)
    const done = await deploy('2', '2', others)
    assert.equal(done.status, 0, done.stderr)
    assert.equal(done.stderr.match(/passes its machine checks/g)?.length, 4)
    assert.deepEqual(
      (await shape()).map((line) => line.split(' ')[1]),
      ['2', '2', '2', '2'],
    )
    assert.deepEqual(await openings(), [], 'what was open for the checks is closed')
  })

  test('a canary that fails its check goes, and the old release serves every request', async () => {
    const before = await shape()
    const load = startLoad(world, { url: URL, clients: 4, pauseMs: 5 }, 'client-iad')
    await eventually('the clients are answered', 10_000, async () => load.answers.length > 20)
    const done = await deploy('3', 'something else', [], '--strategy', 'canary')
    const answers = await load.stop()
    assert.equal(done.status, 1)
    assert.match(done.stderr, /machine check "node check.js" .* failed with exit code 3/)
    assert.match(done.stderr, /What it printed:\n {2}under test: 3\n/)
    assert.deepEqual(await shape(), before)
    assert.deepEqual(
      answers.filter(({ status, version }) => status !== 200 || version !== '2'),
      [],
    )
    assert.deepEqual(await openings(), [])
  })

  test('a canary that passes takes its part, then the rest follows without a lost request', async () => {
    const before = await shape()
    const load = startLoad(world, { url: URL, clients: 4, pauseMs: 5 }, 'client-iad')
    await eventually('the clients are answered', 10_000, async () => load.answers.length > 20)
    const done = await deploy('4', '4', [], '--strategy', 'canary', '--max-unavailable', '1')
    assert.equal(done.status, 0, done.stderr)
    const known = load.answers.length
    await eventually('they go on', 10_000, async () => load.answers.length > known + 20)
    const answers = await load.stop()
    assert.deepEqual(
      answers.filter(({ status }) => status !== 200),
      [],
    )
    const [, canary = ''] = /Created canary (\w+)/.exec(done.stderr) ?? []
    const ofCanary = answers.filter((answer) => answer.machine === canary)
    const ofOld = answers.findLastIndex((answer) => answer.version === '2')
    assert.ok(answers.indexOf(ofCanary[0]!) < ofOld, 'both releases served side by side')
    assert.deepEqual(
      await shape(),
      before.map((line) => line.replace(/ 2$/, ' 4')),
    )
  })
})
