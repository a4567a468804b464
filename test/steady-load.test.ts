import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import type { SteadyLoad, Tally } from './steady-load/client.ts'
import { findProcesses, type Sample, sample, type WatchedProcess } from './steady-load/processes.ts'
import { paced } from './support/pace.ts'
import { scaled } from './support/soak.ts'
import { eventually, PATIENCE, ROOT, type TestWorld, upWorld } from './support/world.ts'

const FOLDER = 'test/steady-load/fly.toml'
const DURATION_MS = scaled(120_000, 600_000)
const THIRDS = 3
/** Code is compiled, pools fill, buffers grow to their size. */
const WARM_UP_MS = scaled(20_000, 60_000)
const LOAD: SteadyLoad = {
  url: 'http://steady.fairway.test',
  clients: 8,
  pauseMs: 20,
  timeoutMs: 15_000,
}
const PLACES = ['client-iad', 'client-nrt']
/** Their edges are replaced again and again; the others' live through all of it. */
const RESTARTED = ['host-iad2', 'host-lhr1']
const WATCHED = [
  { name: 'edge of iad1', file: 'agent/edge-main.ts', place: 'host-iad1' },
  { name: 'edge of nrt1', file: 'agent/edge-main.ts', place: 'host-nrt1' },
  // They pass the listeners to each new edge.
  { name: 'holder of iad2', file: 'agent/holder.ts', place: 'host-iad2' },
  { name: 'holder of lhr1', file: 'agent/holder.ts', place: 'host-lhr1' },
]
/** What may be more at the end than after the first third, all garbage collected. */
const LIVE_GROWTH_KB_MAX = 2_048
/** Descriptors come and go with the load: how many there are is told when it is over. */
const DESCRIPTORS_GROWTH_MAX = 8
/** Connections between edges that nobody uses are kept for 55 s. */
const REST_MS = 75_000
const BETWEEN_MS = 2_000
/** Of each thing that is done to it; a machine that is slow gets more time for them. */
const TIMES_MIN = 2

interface Listed {
  readonly id: string
  readonly state: string
}

/** Requests go on while deploys, kills and restarts do: none is lost, and nothing grows. */
describe('steady load', () => {
  let world: TestWorld
  let version = 0
  before(async () => {
    world = await upWorld()
    assert.ok(await deploy('rolling'))
    const regions = ['--region', 'iad,lhr,nrt']
    await world.fairway(['scale', 'count', '6', ...regions, '-a', 'steady', '--yes'])
  })
  after(() => world?.close())

  /**
   * False when it was refused: an agent that starts slowly after its death is taken for dead, and a
   * region without a live host gets no machine. The release before goes on then.
   */
  async function deploy(strategy: string): Promise<boolean> {
    const next = version + 1
    const { status, stderr } = await world.fairway(
      ['deploy', '-c', FOLDER, '--strategy', strategy, '-e', `VERSION=${next}`],
      { timeoutMs: 300_000, check: false },
    )
    if (status === 0) version = next
    else assert.match(stderr, /has no live host/)
    return status === 0
  }

  async function killMachine(turn: number): Promise<void> {
    const started = async () => {
      const { stdout } = await world.fairway(['machine', 'list', '-a', 'steady', '--json'])
      // Those of the release before may be on their way out.
      return (JSON.parse(stdout) as Listed[]).filter(({ state }) => state === 'started')
    }
    const machines = await started()
    const { id } = machines[turn % machines.length]!
    await world.fairway(['machine', 'kill', id, '-a', 'steady'])
    await pause(BETWEEN_MS)
    await eventually('the machine runs again', 15_000, async () =>
      (await started()).some((machine) => machine.id === id),
    )
  }

  const counts = { deploys: 0, machineKills: 0, edgeRestarts: 0, agentKills: 0 }

  async function changeReleases(isOver: () => boolean): Promise<void> {
    for (let turn = 0; !isOver(); turn++) {
      if (await deploy(turn % 2 === 0 ? 'bluegreen' : 'rolling')) counts.deploys++
      await killMachine(turn)
      counts.machineKills++
    }
  }

  /** Where processes start slowly the old edge stays, which is no failure of what is tested here. */
  async function restartEdge(host: string): Promise<void> {
    const { status, stderr } = await world.fairway(['world', 'restart', host, 'edge'], {
      check: false,
    })
    if (status === 0) counts.edgeRestarts++
    else assert.match(stderr, /was not replaced: not ready after/)
  }

  async function replaceProcesses(isOver: () => boolean): Promise<void> {
    const hosts = ['host-iad1', 'host-iad2', 'host-lhr1', 'host-nrt1']
    for (let turn = 0; !isOver(); turn++) {
      await restartEdge(RESTARTED[turn % RESTARTED.length]!)
      await pause(BETWEEN_MS)
      await world.fairway(['world', 'kill', hosts[turn % hosts.length]!, 'agent'])
      counts.agentKills++
      await pause(BETWEEN_MS)
    }
  }

  function startClient(place: string) {
    const argv = [
      ...['world', 'exec', place, '--', process.execPath],
      ...[
        '--disable-warning=ExperimentalWarning',
        join(import.meta.dirname, 'steady-load/client.ts'),
      ],
    ]
    const child = spawn(join(ROOT, 'bin', 'fairway'), [...argv, JSON.stringify(LOAD)], {
      env: { ...process.env, FAIRWAY_STATE: world.stateDir },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let tally: Tally | undefined
    createInterface({ input: child.stdout }).on('line', (line) => {
      tally = JSON.parse(line) as Tally
    })
    const ended = new Promise((resolve) => child.on('close', resolve))
    return {
      place,
      tally: () => tally,
      stop: async () => {
        child.stdin.end()
        await ended
        return tally!
      },
    }
  }

  test(
    'deploys, kills and restarts lose no request; descriptors and memory do not grow',
    { timeout: DURATION_MS * 5 + REST_MS * PATIENCE },
    paced(async (t) => {
      const watched = findProcesses(world.stateDir, WATCHED)
      const atRest = await Promise.all(watched.map((one) => sample(world, one)))
      const clients = PLACES.map(startClient)
      let isOver = false
      const work = Promise.all([changeReleases(() => isOver), replaceProcesses(() => isOver)])
      // Seen at once, and again when it is awaited.
      let failure: unknown
      work.catch((error) => {
        failure = error
      })
      const samples: (readonly Sample[])[] = []
      const snapshot = async () =>
        samples.push(await Promise.all(watched.map((one) => sample(world, one))))
      await pause(WARM_UP_MS)
      await snapshot()
      for (let third = 0; third < THIRDS && !failure; third++) {
        await pause(DURATION_MS / THIRDS)
        await snapshot()
      }
      const enough = () => Object.values(counts).every((n) => n >= TIMES_MIN)
      for (let left = DURATION_MS; left > 0 && !enough() && !failure; left -= BETWEEN_MS)
        await pause(BETWEEN_MS)
      isOver = true
      const worked = await Promise.allSettled([work])
      const tallies = await Promise.all(clients.map(({ stop }) => stop()))

      t.diagnostic(JSON.stringify(counts))
      for (const [i, tally] of tallies.entries())
        t.diagnostic(
          `${PLACES[i]}: ${tally.answered} answered, ${tally.repeated} repeated, ${tally.lost.length} lost`,
        )
      for (const [i, { name }] of watched.entries())
        t.diagnostic(`${name}: ${samples.map((one) => textOf(one[i]!)).join(', ')}`)
      if (worked[0]!.status === 'rejected') throw worked[0]!.reason
      for (const [i, tally] of tallies.entries()) checkTally(PLACES[i]!, tally, version)
      for (const name of Object.keys(counts) as (keyof typeof counts)[])
        assert.ok(counts[name] >= TIMES_MIN, `${name}: ${counts[name]}`)
      checkMemory(watched, samples)
      await eventually('descriptors are as many as before the load', REST_MS, async () => {
        const now = await Promise.all(watched.map((one) => sample(world, one)))
        const more = now.map(({ descriptors }, i) => descriptors - atRest[i]!.descriptors)
        if (more.some((n) => n > DESCRIPTORS_GROWTH_MAX)) throw new Error(`more: ${more}`)
        return true
      })
    }),
  )
})

function checkTally(
  place: string,
  { answered, lost, versions, regions }: Tally,
  last: number,
): void {
  assert.deepEqual(lost, [], place)
  assert.ok(answered > 500, `${place}: ${answered} requests`)
  const known = Object.keys(versions).map(Number)
  assert.ok(known.length > 2 && Math.max(...known) === last, `${place}: versions ${known}`)
  const home = place.replace('client-', '')
  assert.ok(regions[home]! > answered / 2, `${place}: served by ${JSON.stringify(regions)}`)
}

function checkMemory(
  watched: readonly WatchedProcess[],
  samples: readonly (readonly Sample[])[],
): void {
  for (const [i, { name }] of watched.entries()) {
    // Code is compiled and tables grow to their size in the first third. In between it may be more.
    const [, first, ...rest] = samples.map((one) => one[i]!)
    const last = rest.at(-1)!
    const all = samples.map((one) => textOf(one[i]!)).join(', ')
    assert.ok(last.liveKb - first!.liveKb <= LIVE_GROWTH_KB_MAX, `${name}: ${all}`)
  }
}

const textOf = ({ liveKb, rssMb, descriptors }: Sample): string =>
  `${liveKb} kB live of ${rssMb} MB, ${descriptors} fds`
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
