import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type ApiMachine, api, exitCodeOf } from './support/api.ts'
import { FAR_END, type FarEnd, startFarEnd } from './support/far-end.ts'
import { scaled } from './support/soak.ts'
import { eventually, type TestWorld, upWorld } from './support/world.ts'

const STARTS = scaled(12, 1_000)
const AT_ONCE = 4
const BETWEEN_KILLS_MS = 1_500
const MACHINE_MS_MAX = 120_000

/**
 * What a machine does with its first instruction, before anything could be waited for: both
 * families, TCP and UDP. Ends well when the far end saw the addresses that it was told.
 */
const FIRST_PACKETS = `
echo now >/dev/udp/${FAR_END.v4}/${FAR_END.port}
echo now >/dev/udp/${FAR_END.v6}/${FAR_END.port}
exec 3<>/dev/tcp/${FAR_END.v4}/${FAR_END.port} || exit 4
exec 4<>/dev/tcp/${FAR_END.v6}/${FAR_END.port} || exit 6
read -r -t 20 v4 _ <&3 && [ "$v4" = "$EXPECTED_V4" ] || { echo "v4 $v4"; exit 14; }
read -r -t 20 v6 _ <&4 && [ "$v6" = "$EXPECTED_V6" ] || { echo "v6 $v6"; exit 16; }
`

interface Place {
  readonly place: string
  readonly units: readonly { readonly name: string; readonly state: string }[]
}

/** What dies, again and again, while machines start. */
const VICTIMS = [
  ['host-iad1', 'agent'],
  ['host-iad2', 'agent'],
  ['control', 'control'],
  ['host-iad1', 'bird'],
  ['host-iad2', 'edge'],
] as const

describe('the first packet of every start', () => {
  let world: TestWorld
  let farEnd: FarEnd
  let image = ''
  let addresses: { v4: string; v6: string }
  const folder = mkdtempSync(join(tmpdir(), 'fairway-starts-'))

  before(async () => {
    world = await upWorld()
    farEnd = await startFarEnd(world)
    writeFileSync(join(folder, 'README'), 'nothing of its own\n')
    await world.fairway(['apps', 'create', 'starter', '--yes'])
    addresses = await allocate(world, 'starter', 'iad')
    await farEnd.admit(Object.values(addresses))
    const made = await world.fairway([
      ...['machine', 'run', folder, '-a', 'starter', '-r', 'iad', '--detach', '--json'],
      ...['--restart', 'no', '--', '/bin/true'],
    ])
    image = (JSON.parse(made.stdout) as ApiMachine).config.image
  })
  after(async () => {
    await farEnd?.close()
    await world?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  const stateOf = async (place: string, name: string): Promise<string | undefined> => {
    const places = JSON.parse((await world.fairway(['world', '--json'])).stdout) as Place[]
    return places.find((p) => p.place === place)?.units.find((u) => u.name === name)?.state
  }
  const start = async (n: number): Promise<string> => {
    const group = n % 3 === 0 ? 'fly_app_release_command' : 'app'
    const config = {
      image,
      auto_destroy: true,
      restart: { policy: 'no' },
      metadata: { fly_process_group: group },
      env: { EXPECTED_V4: addresses.v4, EXPECTED_V6: addresses.v6 },
      init: { exec: ['/bin/bash', '-c', FIRST_PACKETS] },
    }
    // Refused or cut off while the control plane is away: asked again, as any client would.
    const made = await eventually('a machine is created', MACHINE_MS_MAX, () =>
      api<ApiMachine>(world, 'POST', '/v1/apps/starter/machines', { config, region: 'iad' }),
    )
    return made.id
  }
  const exitCode = (id: string): Promise<number> =>
    eventually(`machine ${id} ends`, MACHINE_MS_MAX, async () => {
      const code = exitCodeOf(await api(world, 'GET', `/v1/apps/starter/machines/${id}`))
      return code === undefined ? undefined : { code }
    }).then(({ code }) => code)

  test(`${STARTS} starts, while agents, the control plane, BIRD and edges are killed`, async (t) => {
    const failed: string[] = []
    let begun = 0
    let kills = 0
    let running = true
    const starter = async () => {
      while (begun < STARTS) {
        const n = begun++
        const id = await start(n)
        const code = await exitCode(id)
        if (code !== 0) failed.push(`${id} (start ${n}) ended with ${code}`)
      }
    }
    const killer = async () => {
      for (let n = 0; running; n++) {
        await new Promise((resolve) => setTimeout(resolve, BETWEEN_KILLS_MS))
        const [place, unit] = VICTIMS[n % VICTIMS.length]!
        await world.fairway(['world', 'kill', place, unit])
        kills++
        // On a slow machine nothing would start if nothing ever came back.
        await eventually(
          `${unit} at ${place} is back`,
          MACHINE_MS_MAX,
          async () => (await stateOf(place, unit)) === 'ready',
        )
      }
    }
    const killing = killer()
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, starter))
    } finally {
      running = false
      await killing
    }
    const arrived = await farEnd.arrived()
    t.diagnostic(
      `${kills} kills; ${arrived.right} packets from the addresses, ${arrived.wrong} from others`,
    )
    assert.ok(kills > 0)
    assert.deepEqual(arrived.wrongSources, [], 'packets with a wrong source')
    assert.equal(arrived.wrong, 0)
    // Two datagrams and two handshakes of each, at the least.
    assert.ok(arrived.right >= STARTS * 6, `only ${arrived.right} packets arrived`)
    assert.deepEqual(failed, [])
  })
})

/** Allocates a pair for an app in a region. */
async function allocate(world: TestWorld, app: string, region: string) {
  const { egress_ips: rows } = await api<{ egress_ips: { ip: string; version: number }[] }>(
    world,
    ...(['POST', `/api/v1/apps/${app}/egress_ips`, { region }] as const),
  )
  const ip = (version: number) => rows.find((row) => row.version === version)!.ip
  return { v4: ip(4), v6: ip(6) }
}
